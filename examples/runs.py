"""The runs of train.py: what opens the networks and states that they save, and what they tell beside the loss.

Nothing here imports torch before it is needed.
"""

import json

from methods import METHODS

import vireid


def load(source):
    """Load a network for evaluation and the notes of its training, from an embedder's folder or a state of train.py."""
    if source.is_file():
        state = read_state(source)
        name = state["method"]
        if name not in METHODS:
            raise ValueError(f"{source} must be of a method of methods.py, got {name!r}. Take best/ beside it.")
        method = METHODS[name].with_auxiliary(state.get("auxiliary"))
        network = method.network(state["num_identities"], state["backbone"], image_size=tuple(state["image_size"]))
        network.load_state_dict(weights_of(state))
        network.embedder.preprocessing = preprocessing_of(state, source)
        return network.eval(), state["notes"]
    network, notes = vireid.TwoStreamEmbedder.from_pretrained(source), source / "training.json"
    try:
        return network, json.loads(notes.read_text()) if notes.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{notes} must be JSON: {error}.") from error


def load_weights(network, source):
    """Load the trained weights that fit a network, its embedder's at least, and the normalisation; say what is new."""
    own = network.state_dict()
    (prefix,) = (f"{name}." for name, module in network.named_modules() if module is network.embedder)
    try:
        if source.is_file():
            state = read_state(source)
            weights, usual = weights_of(state), preprocessing_of(state, source)
        else:
            embedder = vireid.TwoStreamEmbedder.from_pretrained(source)
            weights, usual = {prefix + name: w for name, w in embedder.state_dict().items()}, embedder.preprocessing
    except (ValueError, OSError) as error:
        raise ValueError(f"init_from must be an embedder's folder or a state of train.py: {error}") from error
    fitting = {name: weight for name, weight in weights.items() if name in own and own[name].shape == weight.shape}
    other = [name for name in own if name.startswith(prefix) and name not in fitting]
    if other:
        raise ValueError(f"init_from must hold the same embedder, got {str(source)!r} without a fitting {other[0]}.")
    network.load_state_dict(fitting, strict=False)
    network.embedder.preprocessing = usual | {"size": network.preprocessing["size"]}
    anew = sorted({name.split(".")[0] for name in own.keys() - fitting.keys()})
    return f"Starting from {source}; new are: {', '.join(anew) or 'none of the parts'}."


def read_state(path, settings=None):
    """Read a training state of train.py, and require that it is of a run with these settings."""
    state = vireid.models.load_training_state(path)
    if not {"method", "plain", "notes"} <= state.keys():
        raise ValueError(f"path must be a training state of train.py, got {str(path)!r}.")
    theirs = state.get("settings", {})
    other = [
        f"{name} {theirs.get(name)}, not {value}"
        for name, value in (settings or {}).items()
        if theirs.get(name, "None") != value  # an option that was added since
    ]
    if other:
        raise ValueError(f"{path} is of a run with {'; '.join(other)}. Choose another --output, or delete it.")
    return state


def weights_of(state):
    """Return the network's part of a training state."""
    return {name.removeprefix("model."): w for name, w in state["plain"].items() if name.startswith("model.")}


def preprocessing_of(state, source):
    """Return how a training state's network takes images, which timm's pretrained networks have of their own."""
    if "preprocessing" not in state:
        remedy = "Take best/ beside it, or train on: the same command resumes it."
        raise ValueError(f"{source} must say how images were normalised, got a state of an older version. {remedy}")
    return state["preprocessing"]


def is_whole(folder, say):
    """Return whether an embedder can be loaded from a folder; say so if not."""
    try:
        vireid.TwoStreamEmbedder.from_pretrained(folder)
    except (ValueError, OSError) as error:
        say(f"{folder} is written again, with the next network that is evaluated: {error}")
        return False
    return True


def diagnose(output, identities, criterion):
    """Describe the auxiliary modality of a batch, of a network that has one, beside the terms of the loss."""
    names = ("visible", "infrared", "auxiliary", "auxiliary_visible_logits", "auxiliary_infrared_logits")
    if any(getattr(output, name, None) is None for name in names):
        return {}
    alignment = getattr(criterion, "identity_alignment", None)
    found = vireid.losses.describe_auxiliary(output, identities, identity_alignment=alignment)
    return {f"auxiliary {name}": value for name, value in found.items()}


def judge_auxiliary(history, length, report=lambda warning: None):
    """Report and return a warning if the auxiliary modality told no people apart in the last steps, after 100, or ""."""
    steps = history[-length:] if len(history) >= 100 else []
    known = [values for values in steps if {"identity_consistency", "auxiliary consistency"} <= values.keys()]
    if not known:
        return ""
    guess, active = (
        100 * sum(values[f"auxiliary {name}"] for values in known) / len(known)
        for name in ("consistency", "active_hinges")
    )
    if guess <= 90:
        return ""
    found = f"L_idc is at {guess:.0f} % of a guess, and {active:.0f} % of the hinges of L_ia are active"
    remedy = "A generator that starts at its inputs stays alive (A38 in the paper notes): take --auxiliary inputs, or"
    warning = f"The auxiliary modality has collapsed: {found}. {remedy} --method mun with --pretrained."
    report(f"\n{warning}")
    return warning


def panels_of(history, results):
    """Return the panels of curves.png: the terms of the loss, the auxiliary modality, and the results in percent."""
    shown = {name: values for name, values in history.items() if name != "lr"}
    auxiliary = {name: shown.pop(name) for name in [*shown] if name.startswith("auxiliary ")}
    measured = {
        f"{key}, {name}": {int(i): 100 * result[name]["mean"][key] for i, result in results.items()}
        for name in results["0"]
        for key in ("rank-1", "mAP")
    }
    spreads = {name.removeprefix("auxiliary "): values for name, values in auxiliary.items() if "spread" in name}
    panels = {"loss terms": shown, "unseen identities (%)": measured}
    return panels | ({"distance of people": spreads} if spreads else {})


def card_of(run, results):
    """Describe the data and the results of a network for its model card."""
    dataset, people = run.dataset, len({record.identity for record in run.dataset.train})
    published = vireid.data.check_dataset(dataset).complete or not dataset.published
    name = dataset.name if published else f"data in the layout of {dataset.name}, without its published counts"
    data = f"{name}: {len(dataset.train)} images of {people} people to train on, fingerprint {dataset.fingerprint()}"
    return {"data": data, "results": f"```\n{vireid.evaluation.format_results(results)}\n```"}
