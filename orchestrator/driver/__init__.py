"""The Ray Tune driver: what is dispatched, how it is seen, and Ray itself behind ``driver/ray``."""
