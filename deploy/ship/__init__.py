"""One build of the kit, packed, carried to hosts, and unpacked there."""
