"""What holds for every test: Hypothesis judges what is right, not how busy the machine is."""

from hypothesis import HealthCheck, settings

settings.register_profile("thinkaloud", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("thinkaloud")
