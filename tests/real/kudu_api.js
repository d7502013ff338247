// Makes every call of the npm package kudu-api that the platform serves, one after the other, and
// prints what came back as one JSON object: call -> {error, status, data}.
//
// node kudu_api.js FOLDER BASE_URL KEY JOB_SCRIPT JOB_ZIP SCRATCH
"use strict";

const [folder, baseUrl, key, script, archive, scratch] = process.argv.slice(2);
const fs = require("fs");
const path = require("path");

const modules = path.join(folder, "node_modules");
const proof = Buffer.from("deployer:" + key).toString("base64");
const request = require(path.join(modules, "request")).defaults({
    baseUrl: baseUrl + "/",
    headers: {Authorization: "Basic " + proof},
});
const lib = (name) => require(path.join(modules, "kudu-api", "lib", name))(request);

const results = {};

// Callbacks of the package end in (error, data, response), (error, response) or (error).
function call(label, api, method, ...args) {
    return new Promise((resolve) => {
        let answered = false;
        api[method](...args, (error, data, response) => {
            if (answered) {
                return; // the package calls back twice when an upload is refused
            }
            answered = true;
            const answer = response || data;
            results[label] = {
                error: error ? error.message || error.Message || String(error) : null,
                status: answer && answer.statusCode,
                data: data && data.statusCode ? data.body : data,
                headers: answer && answer.headers,
            };
            resolve(results[label]);
        });
    });
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(label, condition, ...args) {
    for (let round = 0; round < 300; round++) {
        if (condition(await call(label, ...args))) {
            return;
        }
        await pause(100);
    }
}

async function webjobs() {
    const api = lib("webjobs.js");
    await call("uploadTriggered", api, "uploadTriggered", "nightly", script);
    await call("uploadTriggeredZip", api, "uploadTriggered", "zipped", archive);
    await call("uploadContinuous", api, "uploadContinuous", "worker", script);
    await call("uploadContinuousZip", api, "uploadContinuous", "worker", archive);
    await call("uploadUnfit", api, "uploadTriggered", "unfit", __filename + "on");
    await call("listAll", api, "listAll");
    await call("listTriggered", api, "listTriggered");
    await call("listTriggeredAsSwagger", api, "listTriggeredAsSwagger");
    await call("getTriggered", api, "getTriggered", "nightly");
    await call("getTriggeredUnknown", api, "getTriggered", "nobody");
    await call("runTriggered", api, "runTriggered", "nightly", "one 'two three'");
    await call("runTriggeredUnknown", api, "runTriggered", "nobody");
    await until(
        "listTriggeredHistory",
        (told) => told.data && told.data.runs[0].status === "Success",
        api, "listTriggeredHistory", "nightly");
    const run = results.listTriggeredHistory.data.runs[0];
    await call("getTriggeredHistory", api, "getTriggeredHistory", "nightly", run.id);
    await call("listContinuous", api, "listContinuous");
    await call("setContinuousSettings", api, "setContinuousSettings", "worker", {is_singleton: true});
    await call("getContinuousSettings", api, "getContinuousSettings", "worker");
    await call("stopContinuous", api, "stopContinuous", "worker");
    await until("getContinuousStopped", (told) => told.data && told.data.status === "Stopped",
        api, "getContinuous", "worker");
    await call("startContinuous", api, "startContinuous", "worker");
    await until("getContinuous", (told) => told.data && told.data.status !== "Stopped",
        api, "getContinuous", "worker");
    await call("deleteContinuous", api, "deleteContinuous", "worker");
    await call("getContinuousDeleted", api, "getContinuous", "worker");
    await call("deleteTriggered", api, "deleteTriggered", "nightly");
    await call("getTriggeredDeleted", api, "getTriggered", "nightly");
}

async function files() {
    const api = lib("vfs.js");
    await call("createDirectory", api, "createDirectory", "site/wwwroot/made");
    await call("uploadFile", api, "uploadFile", script, "site/wwwroot/made/file.sh");
    await call("uploadFileAgain", api, "uploadFile", script, "site/wwwroot/made/file.sh");
    await call("uploadFileStale", api, "uploadFile", script, "site/wwwroot/made/file.sh", '"old"');
    await call("getFile", api, "getFile", "site/wwwroot/made/file.sh");
    await call("listFiles", api, "listFiles", "site/wwwroot/made");
    await call("deleteFileStale", api, "deleteFile", "site/wwwroot/made/file.sh", '"old"');
    await call("deleteDirectoryFull", api, "deleteDirectory", "site/wwwroot/made");
    await call("deleteFile", api, "deleteFile", "site/wwwroot/made/file.sh");
    await call("deleteDirectory", api, "deleteDirectory", "site/wwwroot/made");
    await call("getFileDeleted", api, "getFile", "site/wwwroot/made/file.sh");
}

async function zips() {
    const api = lib("zip.js");
    const target = path.join(scratch, "downloaded.zip");
    await call("zipUpload", api, "upload", archive, "site/wwwroot/unpacked/");
    await call("zipDownload", api, "download", "site/wwwroot/unpacked/", target);
    delete results.zipDownload.data; // the archive itself: it is in the file
}

async function settings(name, label) {
    const api = lib(name);
    await call(label + "Set", api, "set", {FROM_NPM: "yes", OTHER: "x"});
    await call(label + "List", api, "list");
    await call(label + "Get", api, "get", "FROM_NPM");
    await call(label + "Del", api, "del", "OTHER");
    await call(label + "GetDeleted", api, "get", "OTHER");
}

async function main() {
    fs.writeFileSync(__filename + "on", "{}"); // a file that is no script
    await webjobs();
    await files();
    await zips();
    await settings("settings.js", "settings");
    const diagnostics = lib("diagnostics.js");
    await call("diagnosticsList", diagnostics, "list");
    await call("diagnosticsGet", diagnostics, "get", "AzureDriveEnabled");
    await call("diagnosticsGetUnknown", diagnostics, "get", "None");
    await call("diagnosticsSet", diagnostics, "set", {AzureDriveEnabled: false});
    await call("diagnosticsDel", diagnostics, "del", "AzureDriveEnabled");
    await call("environment", lib("environment.js"), "get");
    await call("command", lib("command.js"), "exec", "ls", "site");
    console.log(JSON.stringify(results));
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
