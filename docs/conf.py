"""Configuration of the site: ``sphinx-build -W docs docs/_build`` builds it."""

import sys
from pathlib import Path

import vireid

sys.path.insert(0, str(Path(__file__).parent))
import make_reference

make_reference.main()

project = "vireid"
author = copyright = "The vireid authors"  # noqa: A001
version = release = vireid.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "vireid"
html_static_path = ["static"]
html_css_files = ["pictures.css"]
html_theme_options = {"navigation_with_keys": True}
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = ">>> "
myst_enable_extensions = ["dollarmath", "attrs_block"]
myst_heading_anchors = 3
napoleon_custom_sections = [("Shape", "params_style"), ("References", "notes_style")]
napoleon_use_rtype = False
napoleon_use_ivar = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "inherited-members": "Module,Dataset,Sampler,NamedTuple,tuple,str,Enum,object,ABC,Protocol",  # our own classes only
}
python_use_unqualified_type_names = True
