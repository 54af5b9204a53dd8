"""SQL as text and as a tree: knows no cluster and no catalog. Pure: no gevent, driver or clock."""
