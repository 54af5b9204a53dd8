"""greenshard under Django: ``ENGINE = "greenshard.ext.django"``; see `base`."""
