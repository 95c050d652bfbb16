"""Ray: the only importer of it. A private or a given cluster, the searcher, the trainable, deaths, heartbeats."""
