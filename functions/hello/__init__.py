"""An HTTP function in the Azure Functions model; it runs unchanged on Azure.

It shows the request's query and JSON body, the logger, and a response with a status.
Save a change of the text below while it serves: the next call has it.
"""

import logging

import azure.functions as func

log = logging.getLogger("hello")


def main(req: func.HttpRequest) -> func.HttpResponse:
    name = req.params.get("name")
    if not name and req.method == "POST":
        try:
            name = req.get_json().get("name")
        except (ValueError, AttributeError):
            return func.HttpResponse("send a JSON object with a name\n", status_code=400)
    log.info("hello is called for %s", name or "nobody")
    return func.HttpResponse(f"Hello, {name or 'world'}!\n")
