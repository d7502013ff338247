const framework = require("@google-cloud/functions-framework");

framework.http("hello", (request, response) => response.send("hello"));
