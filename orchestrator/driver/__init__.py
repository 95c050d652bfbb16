"""The Ray Tune driver: the only importer of ray."""
