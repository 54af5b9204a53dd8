"""What a connection knows of its cluster: catalogs, plans, bearings, rights."""
