"""The commands, by what they work on: a sweep (``work``), a store (``results``), what is built in (``builtin``)."""
