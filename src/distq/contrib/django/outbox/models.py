"""The table of the outbox."""

from __future__ import annotations

from django.db import models


class WaitingTask(models.Model):  # type: ignore[misc] # Django has no types
    """A task that was added and that no relay has submitted yet. Instants are seconds since 1970."""

    id = models.BigAutoField(primary_key=True)
    key = models.CharField(max_length=32, unique=True)
    created_at = models.FloatField()
    name = models.TextField()
    options = models.TextField()
    body = models.BinaryField()
    due_at = models.FloatField(null=True, db_index=True)
    attempted_at = models.FloatField(null=True)
    attempts = models.IntegerField(default=0)
    claim = models.CharField(max_length=32, default="", db_index=True)
    error = models.TextField(default="")

    class Meta:
        """The name of the table."""

        db_table = "distq_outbox"

    def __str__(self) -> str:
        return f"{self.name} ({self.key})"
