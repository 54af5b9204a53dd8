"""A statement, the cluster and the catalog become a plan. Pure: no gevent, driver or clock.

`planner` leads through the rooms: `binding` finds what names mean, `analysis` what is true of the
query, and `strategies` try in turn to plan it. `pins` tells the shards when it runs.
"""
