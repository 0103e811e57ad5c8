"""Settings of every test run; they precede the first import of torch."""

import os

# Two threads that wait for each other by spinning make a step some fifteen times slower beside another busy program.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
