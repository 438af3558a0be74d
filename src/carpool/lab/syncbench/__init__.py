"""`script/bench sync`: synchronisation beside rsync, in a lab."""
