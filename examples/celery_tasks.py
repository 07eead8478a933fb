"""A Celery worker that makes images, each for a customer, and writes what its last ones cost before it ends.

    export OPENAI_API_KEY=... OPENAI_BASE_URL=https://api.aigateway.sh/v1
    export CELERY_CONFIG_MODULE=celeryconfig    # celeryconfig.py has broker_url, and whatever else you set
    cd examples
    celery --app celery_tasks worker --concurrency 4
    python -c "import celery_tasks; celery_tasks.make.delay('acme', 'a fox')"

Afterwards `pixelmeter report --by tag:customer` says what each customer cost.
"""

from __future__ import annotations

from celery import Celery
from celery.signals import worker_process_shutdown
from openai import OpenAI

import pixelmeter

app = Celery("tasks")
app.config_from_envvar("CELERY_CONFIG_MODULE")
meter = pixelmeter.Meter()
client = pixelmeter.instrument(OpenAI(), meter)


@app.task
def make(customer: str, prompt: str) -> list[str]:
    # Set in the task: tags do not travel from the program that sends it.
    with pixelmeter.tags(customer=customer):
        answer = client.images.generate(model="meta/sam-3-1-image", prompt=prompt, response_format="url")
    return [image.url or "" for image in answer.data or []]


@worker_process_shutdown.connect
def write_the_rest(**_: object) -> None:
    meter.close(20)
