"""A Django backend in one file: a view that allocates.

On the cluster that kubectl uses: ``GAME_SERVER_IMAGE=... python examples/django_backend.py
runserver --noreload``; or, with any number of workers, ``gunicorn --chdir examples
django_backend``. Then ``curl -X PUT localhost:8000/matches/42``. In a project of yours, ``fleet``
stands in a module of its own, and ``match`` in ``views.py``.
"""

import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.urls import path

from podfleet import (
    AllocationError,
    Fleet,
    GameServerTemplate,
    HostPort,
    NodeAddress,
    Port,
    PortPool,
)

# Made before gunicorn forks, it starts in each worker at its first use.
fleet = Fleet(
    "django",
    template=GameServerTemplate(
        image=os.environ.get("GAME_SERVER_IMAGE", "ghcr.io/acme/arena:1.4"),
        ports=[Port("game", 7777, "UDP")],
    ),
    exposure=HostPort(PortPool(7300, 7399), address=NodeAddress(internal=True)),
    namespace=os.environ.get("NAMESPACE"),  # by default that of kubectl
)


def match(request: HttpRequest, number: int) -> HttpResponse:
    """PUT starts a match, or tells where it is; DELETE ends it."""
    session = f"match-{number}"
    if request.method == "PUT":
        try:
            server = fleet.allocate(session, timeout=30)
        except AllocationError:
            again = {"Retry-After": "5"}
            return JsonResponse({"error": "no server is free"}, status=503, headers=again)
        return JsonResponse({"server": server.name, "endpoint": str(server.endpoint)})
    if request.method == "DELETE":
        running = fleet.find(session)
        if running is not None:
            running.release()
        return HttpResponse(status=204)
    return HttpResponseNotAllowed(["PUT", "DELETE"])


urlpatterns = [path("matches/<int:number>", match)]

settings.configure(ALLOWED_HOSTS=["localhost", "127.0.0.1"], ROOT_URLCONF=__name__)
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
