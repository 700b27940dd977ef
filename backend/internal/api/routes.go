package api

import "github.com/tranquil-iot/tranquil/backend/internal/accounts"

const (
	device      = "/devices/{id}"
	ofComponent = device + "/components/{type}/{name}"
	offer       = "/packages/{type}/{name}"
	webhooks    = "/webhooks/{hook}"
	hub         = "/hub/{path...}"
)

// Routes lists all operations.
func Routes() []Route {
	q := parameter{"q", "words that must all be true of a device: pump, state:updating, application/x@1.4.0, tags.site:zurich, result:failed, -word"}
	return []Route{
		{"GET", "/openapi.json", 0, "This document", nil, get(openAPI)},
		{"POST", "/login", 0, "Exchange name and password for a token", nil, take(login)},
		{"GET", "/me", accounts.Read, "Who you are, and what you may do", nil, get(me)},

		{"GET", "/devices", accounts.Read, "List devices", []parameter{q, {"after", "the last id of the page before"}, {"limit", "at most so many, 1000 if not given"}}, get(listDevices)},
		{"POST", "/devices", accounts.Operate, "Register a device", nil, take(createDevice)},
		{"GET", device, accounts.Read, "Show a device and its components", nil, get(showDevice)},
		{"PATCH", device, accounts.Operate, "Let a device connect, or keep it out", nil, take(enableDevice)},
		{"DELETE", device, accounts.Operate, "Remove a device and its twin", nil, get(deleteDevice)},
		{"GET", device + "/keys", accounts.Operate, "Show the keys of a device", nil, get(showKeys)},
		{"POST", device + "/keys", accounts.Operate, "Give a device other keys", nil, get(newKeys)},
		{"POST", device + "/invitation", accounts.Operate, "Make an invitation: whoever brings it first becomes this device, within a day", nil, get(invite)},
		{"POST", "/enrolment", 0, "Exchange an invitation for all that a device needs; tranquil-agent enrol does", nil, take(enrolDevice)},
		{"GET", device + "/twin", accounts.Read, "Read a twin, with its etag", nil, showTwin},
		{"PATCH", device + "/twin", accounts.Operate, "Merge tags and desired properties into a twin, If-Match its etag", nil, take(patchTwin)},
		{"POST", device + "/methods", accounts.Operate, "Have a device do something now (direct method)", nil, callMethod},
		{"POST", device + "/repair", accounts.Operate, "Have an agent leave safe mode", nil, get(repairDevice)},
		{"GET", device + "/history", accounts.Read, "How the updates of a device have ended, the newest first; some that ended before 'since' may be missing", nil, get(history)},
		{"GET", device + "/readings", accounts.Read, "What a device measures, and whether it is live, stale (until when) or of a device that is away", nil, get(listReadings)},
		{"GET", device + "/substitutes", accounts.Read, "What other devices measure live by the same IPSO object, while this one is masked", []parameter{{"object", "its number, as in 3303 for temperatures"}, {"tag", "name of a tag that they must have in common; several with commas"}}, get(listSubstitutes)},

		{"PUT", ofComponent + "/version", accounts.Operate, "Ask for a version", nil, take(setVersion)},
		{"PATCH", ofComponent + "/terms", accounts.Operate, "Say when it may be updated: schedule of checks, maintenance window, consent", nil, take(setTerms)},
		{"POST", ofComponent + "/consent", accounts.Operate, "Let the update that waits begin", nil, get(consent)},
		{"POST", ofComponent + "/cancel", accounts.Operate, "Have the update under way turn back", nil, get(cancel)},
		{"POST", ofComponent + "/rollback", accounts.Operate, "Go back to the version before", nil, get(rollback)},
		{"POST", ofComponent + "/repair", accounts.Operate, "Have it go on with a saved state, or with the one it has, if it stays stopped", nil, take(mendComponent)},
		{"DELETE", ofComponent, accounts.Operate, "Take it off the device", []parameter{{"purge", "true: keep none of its states"}}, get(removeComponent)},
		{"POST", "/pushes", accounts.Operate, "Ask several devices for a version, by id or by query", nil, take(push)},

		{"GET", "/packages", accounts.Read, "List components and their packages", nil, get(listPackages)},
		{"POST", "/packages", accounts.Publish, "Upload a package in its single-file form", nil, uploadPackage},
		{"GET", offer, accounts.Read, "Show the packages of a component", nil, get(showPackages)},
		{"DELETE", offer + "/{version}", accounts.Publish, "Take a package back", nil, get(withdrawPackage)},

		{"GET", "/alarms", accounts.Read, "List what somebody has to see to of the packages: signatures that expire, a store that is about to be full", nil, get(listAlarms)},

		{"GET", "/events", accounts.Read, "Follow what happens, as server-sent events; Last-Event-ID resumes", []parameter{{"device", "of one device only"}}, followEvents},

		{"GET", hub, accounts.Read, "Read by the REST interface of Azure IoT Hub: devices, twins, jobs, configurations, statistics", nil, asHub},
		{"POST", "/hub/devices/query", accounts.Read, "Query twins by the language of Azure IoT Hub", nil, asHub},
		{"POST", hub, accounts.Operate, "Change by the REST interface of Azure IoT Hub", nil, asHub},
		{"PUT", hub, accounts.Operate, "Change by the REST interface of Azure IoT Hub", nil, asHub},
		{"PATCH", hub, accounts.Operate, "Change by the REST interface of Azure IoT Hub", nil, asHub},
		{"DELETE", hub, accounts.Operate, "Change by the REST interface of Azure IoT Hub", nil, asHub},

		{"GET", "/tokens", accounts.Read, "List your API tokens", nil, get(listTokens)},
		{"POST", "/tokens", accounts.Read, "Make an API token with some of your rights", nil, take(createToken)},
		{"DELETE", "/tokens/{token}", accounts.Read, "End an API token", nil, get(deleteToken)},
		{"PUT", "/me/password", accounts.Read, "Change your password", nil, take(changePassword)},

		{"GET", "/users", accounts.Administer, "List users", nil, get(listUsers)},
		{"POST", "/users", accounts.Administer, "Make a user", nil, take(createUser)},
		{"PATCH", "/users/{user}", accounts.Administer, "Give a user another role or password", nil, take(changeUser)},
		{"DELETE", "/users/{user}", accounts.Administer, "Remove a user", nil, get(deleteUser)},
		{"GET", "/webhooks", accounts.Administer, "List servers that are told what happens", nil, get(listWebhooks)},
		{"POST", "/webhooks", accounts.Administer, "Have a server be told what happens from now on; the answer has the secret it is signed with", nil, take(createWebhook)},
		{"DELETE", webhooks, accounts.Administer, "Tell a server nothing more", nil, get(deleteWebhook)},
		{"GET", webhooks + "/deadletters", accounts.Administer, "List what a server has not taken", nil, get(listDeadLetters)},
		{"POST", webhooks + "/deadletters/{event}", accounts.Administer, "Send it once more", nil, get(resendDeadLetter)},
		{"GET", "/audit", accounts.Administer, "List changes, the newest first", []parameter{{"before", "a number: entries below it"}, {"limit", "at most so many, 100 if not given"}}, get(listChanges)},
		{"GET", "/audit/verification", accounts.Administer, "Verify that no change was altered or removed", nil, get(verifyChanges)},
	}
}
