"""Settings of every test run; they precede the first import of torch."""

import os

# Two threads that wait for each other by spinning make a step some fifteen times slower beside another busy program.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Tests run in as many processes as there are cores; more threads would only compete for them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
