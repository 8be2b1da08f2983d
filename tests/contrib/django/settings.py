"""The settings of the test project."""

import json
import os

import django

SECRET_KEY = "a key of the tests"
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
INSTALLED_APPS = [
    "distq.contrib.django",
    "distq.contrib.django.outbox",
    "tests.contrib.django.shop",
    *filter(None, [os.environ.get("SHOP_APP")]),
    *(["django_tasks"] if django.VERSION < (6,) else []),
]
DEBUG = os.environ.get("SHOP_DEBUG") == "1"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SHOP_DATABASE", ":memory:"),
        "OPTIONS": {"timeout": 20},
    }
}
if "SHOP_POSTGRESQL" in os.environ:
    folder, port = os.environ["SHOP_POSTGRESQL"].split()
    server = {"NAME": "postgres", "USER": "distq", "HOST": folder, "PORT": port}
    DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", **server}}
QUEUES = ["default", "mail"]
DISTQ = "distq.contrib.django.TaskBackend"
TASKS = {
    "default": {"BACKEND": DISTQ, "QUEUES": QUEUES, "OPTIONS": {"SUBMIT": {"time_limit": "1m"}}},
    "retrying": {"BACKEND": DISTQ, "QUEUES": QUEUES, "OPTIONS": {"SUBMIT": {"retries": 1}}},
    "committed": {"BACKEND": DISTQ, "QUEUES": QUEUES, "OPTIONS": {"ENQUEUE_ON_COMMIT": True}},
    "outbox": {"BACKEND": DISTQ, "QUEUES": QUEUES, "OPTIONS": {"OUTBOX": True}},
}
if "SHOP_WRONG" in os.environ:
    TASKS["wrong"] = {
        "BACKEND": DISTQ,
        "OPTIONS": {"ADRESS": "a:1", "AUTHKEY": "", "SUBMIT": {"queue": "mail", "retires": 3}, "OUTBOX": "yes"},
    }
if "SHOP_OPTIONS" in os.environ:
    TASKS["wrong"] = {"BACKEND": DISTQ, "OPTIONS": json.loads(os.environ["SHOP_OPTIONS"])}
LOGGING_CONFIG = None
