"""How a run is seen while it goes on."""
