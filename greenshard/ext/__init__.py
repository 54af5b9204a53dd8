"""What connects greenshard with other libraries; each module needs the one that it names."""
