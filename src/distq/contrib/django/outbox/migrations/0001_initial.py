"""The table of the outbox."""

from django.db import migrations, models


class Migration(migrations.Migration):  # type: ignore[misc] # Django has no types
    """Create the table."""

    initial = True
    dependencies = ()
    operations = (
        migrations.CreateModel(
            name="WaitingTask",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("key", models.CharField(max_length=32, unique=True)),
                ("created_at", models.FloatField()),
                ("name", models.TextField()),
                ("options", models.TextField()),
                ("body", models.BinaryField()),
                ("due_at", models.FloatField(db_index=True, null=True)),
                ("attempted_at", models.FloatField(null=True)),
                ("attempts", models.IntegerField(default=0)),
                ("claim", models.CharField(db_index=True, default="", max_length=32)),
                ("error", models.TextField(default="")),
            ],
            options={"db_table": "distq_outbox"},
        ),
    )
