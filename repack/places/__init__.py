"""The only floor that touches the world: disk, network, host."""
