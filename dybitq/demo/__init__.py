"""The demo network, its data and its data spec; made by ``tools/make_demo.py``."""
