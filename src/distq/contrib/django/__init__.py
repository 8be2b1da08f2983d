"""The backend of Django's tasks; needs Django 6.0, or an older one with the package django-tasks.

    TASKS = {"default": {"BACKEND": "distq.contrib.django.TaskBackend", "QUEUES": ["default", "mail"]}}

Workers run `distq worker distq.contrib.django.run` with DJANGO_SETTINGS_MODULE.
"""

from __future__ import annotations

from distq.client.unsendable import ExtraMissing

try:
    from distq.contrib.django.backend import TaskBackend as TaskBackend
except ImportError as error:
    if (error.name or "").partition(".")[0] not in ("django", "django_tasks", "django_stubs_ext"):
        raise
    raise ExtraMissing(
        f"distq.contrib.django needs Django 6.0 or newer, or Django 5.2 with django-tasks ({error}): "
        "pip install 'distq[django]'."
    ) from None
