"""From adapter to what is served, in every format, proved equal."""
