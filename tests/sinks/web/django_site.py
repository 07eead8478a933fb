"""The least of a Django project around the views of the page."""

from __future__ import annotations

import importlib

from django.conf import settings  # type: ignore[import-untyped]
from django.core.wsgi import get_wsgi_application  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="for tests")
views = importlib.import_module("views")
urlpatterns = [path("fox", views.fox), path("metrics", views.metrics)]
app = get_wsgi_application()
