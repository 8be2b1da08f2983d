"""distq as an app of a Django project, which gives it the command distq_worker."""

from django.apps import AppConfig


class DistqConfig(AppConfig):  # type: ignore[misc] # Django has no types
    """The app `distq.contrib.django`."""

    name = "distq.contrib.django"
    label = "distq"
    verbose_name = "distq"
