"""The outbox as an app of a Django project."""

from django.apps import AppConfig


class OutboxConfig(AppConfig):  # type: ignore[misc] # Django has no types
    """The app `distq.contrib.django.outbox`."""

    name = "distq.contrib.django.outbox"
    label = "distq_outbox"
    verbose_name = "distq outbox"
    default_auto_field = "django.db.models.BigAutoField"
