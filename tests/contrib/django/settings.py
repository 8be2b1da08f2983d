"""The settings of the test project."""

import os

import django

SECRET_KEY = "a key of the tests"
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
INSTALLED_APPS = ["tests.contrib.django.shop", *(["django_tasks"] if django.VERSION < (6,) else [])]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("SHOP_DATABASE", ":memory:")}}
QUEUES = ["default", "mail"]
DISTQ = "distq.contrib.django.TaskBackend"
TASKS = {
    "default": {"BACKEND": DISTQ, "QUEUES": QUEUES, "OPTIONS": {"SUBMIT": {"time_limit": "1m"}}},
    "retrying": {"BACKEND": DISTQ, "QUEUES": QUEUES, "OPTIONS": {"SUBMIT": {"retries": 1}}},
    "wrong": {
        "BACKEND": DISTQ,
        "OPTIONS": {"ADRESS": "a:1", "AUTHKEY": "", "SUBMIT": {"queue": "mail", "retires": 3}},
    },
}
LOGGING_CONFIG = None
