package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
)

const fakeToken = "publisher-token"

// fakeServer answers like the file server and the hub as far as the tool asks
// them, and writes what it was sent into a file that scripts look at. The real
// ones are on the other side of the import rules.
type fakeServer struct {
	log string

	mu      sync.Mutex
	streams int
	reads   int
}

func newFakeServer(log string) http.Handler {
	s := &fakeServer{log: log}
	mux := http.NewServeMux()
	mux.Handle("/v2/", newFakeRegistry(s.record))
	mux.HandleFunc("PUT /devices/{id}", s.answer(`{"deviceId":"d1","authentication":{"symmetricKey":{"primaryKey":"a2V5"}}}`))
	mux.HandleFunc("PUT /devices/forbidden", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	mux.HandleFunc("GET /devices/", s.answer(`[{"deviceId":"d1","status":"enabled","connectionState":"Connected","authentication":{"symmetricKey":{"primaryKey":"a2V5"}}}]`))
	mux.HandleFunc("GET /devices/d1", s.answer(`{"deviceId":"d1","authentication":{"symmetricKey":{"primaryKey":"a2V5","secondaryKey":"c2Vj"}}}`))
	mux.HandleFunc("GET /devices/keyless", s.answer(`{"deviceId":"keyless"}`))
	mux.HandleFunc("GET /twins/d1", s.answer(fakeTwin))
	mux.HandleFunc("PATCH /twins/d1", s.answer(fakeTwin))
	for _, id := range []string{"good", "bad", "refusing"} {
		mux.HandleFunc("GET /twins/"+id, s.answer(fakeTwin))
		mux.HandleFunc("PATCH /twins/"+id, s.answer(fakeTwin))
	}
	for _, way := range []string{"transforms", "saved state", "none"} {
		id := strings.ReplaceAll(way, " ", "-")
		twin := strings.Replace(fakeTwin, `"running":true`, `"running":true,"previous":{"version":"1.9.0","schema":1,"way":"`+way+`","note":"loses this","savedAt":"2026-11-22T08:00:00Z"}`, 1)
		mux.HandleFunc("GET /twins/back-"+id, s.answer(twin))
		mux.HandleFunc("PATCH /twins/back-"+id, s.answer(twin))
	}
	standing := strings.Replace(fakeTwin, `"components.x":"not a component"`, `"components/application/greeter":"no such window"`, 1)
	mux.HandleFunc("GET /twins/standing", s.answer(standing))
	mux.HandleFunc("PATCH /twins/standing", s.answer(standing))
	for id, wished := range map[string]string{"since": "2026-11-22T07:00:00Z", "unsure": "2026-11-22T09:00:00Z"} {
		twin := strings.NewReplacer(`"$version":3`, `"$metadata":{"components":{"application/greeter":{"version":{"$lastUpdated":"`+wished+`"}}}}`,
			`"to":"2.1.0","result":"turned back","cause":"never\n\thealthy"`, `"kind":"rollback","to":"2.0.0","result":"updated"`).Replace(fakeTwin)
		mux.HandleFunc("GET /twins/"+id, s.answer(twin))
		mux.HandleFunc("PATCH /twins/"+id, s.answer(twin))
	}
	mux.HandleFunc("GET /twins/waiting", s.answer(waitingTwin))
	mux.HandleFunc("PATCH /twins/waiting", s.answer(waitingTwin))
	shut := strings.Replace(waitingTwin, "Sat 00:00-24:00", "closed: cannot be read", 1)
	mux.HandleFunc("GET /twins/shut", s.answer(shut))
	mux.HandleFunc("PATCH /twins/shut", s.answer(shut))
	mux.HandleFunc("GET /twins/watched", s.answer(strings.NewReplacer(`"id":"u1"`, `"id":"u2"`, `"result":"turned back","cause":"never\n\thealthy"`, `"phase":"request","step":"resolve"`).Replace(fakeTwin)))
	mux.HandleFunc("DELETE /devices/d1", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /twins/gone", s.answer(goneTwin))
	mux.HandleFunc("PATCH /twins/gone", s.answer(goneTwin))
	mux.HandleFunc("GET /twins/away", s.answer(strings.Replace(fakeTwin, `"online"`, `"offline"`, 1)))
	mux.HandleFunc("PATCH /twins/away", s.answer(fakeTwin))
	mux.HandleFunc("GET /twins/safe", s.answer(safeTwin))
	mux.HandleFunc("PATCH /twins/safe", s.answer(safeTwin))
	mux.HandleFunc("GET /twins/forgotten", s.answer(strings.Replace(safeTwin, `"repaired":2`, `"components":{"application/greeter":{"running":true}}`, 1)))
	mux.HandleFunc("GET /twins/apart", s.answer(apartTwin))
	mux.HandleFunc("PATCH /twins/apart", s.answer(apartTwin))
	mux.HandleFunc("GET /twins/mistyped", s.answer(mistypedTwin))
	mux.HandleFunc("PATCH /twins/mistyped", s.answer(mistypedTwin))
	mux.HandleFunc("GET /twins/quick", s.quick)
	mux.HandleFunc("PATCH /twins/quick", s.answer(fakeTwin))
	mux.HandleFunc("GET /twins/unknown", s.refuse)
	mux.HandleFunc("PATCH /twins/unknown", s.refuse)
	mux.HandleFunc("POST /twins/d1/methods", s.answer(`{"status":200,"payload":{"request":"GET /3/0/9","response":80}}`))
	mux.HandleFunc("POST /twins/good/methods", s.answer(`{"status":200,"payload":{"request":"POST /3/0/4"}}`))
	mux.HandleFunc("POST /twins/bad/methods", s.answer(`{"status":404,"payload":{"request":"GET /3/0/99","error":"4.04: no such\nresource"}}`))
	mux.HandleFunc("POST /twins/away/methods", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"Message":"{\"errorCode\":404103,\"message\":\"Timed out waiting for device to connect.\"}","ExceptionMessage":""}`)
	})
	mux.HandleFunc("GET /api/v1/events", s.events)
	for id, history := range histories {
		mux.HandleFunc("GET /api/v1/history/"+id, s.answer(history))
	}
	return mux
}

// newFakeLogin is the operator's API, as far as logging in goes, with the hub behind it.
func newFakeLogin(hub http.Handler) http.Handler {
	mux := http.NewServeMux()
	refuse := func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"status":401,"detail":"name or password is wrong"}`)
	}
	mux.HandleFunc("POST /api/v1/login", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || !strings.Contains(string(body), `"password":"right"`) || strings.Contains(string(body), `"user":"shut"`) && !strings.Contains(string(body), `"known":"here.1"`) {
			refuse(w)
			return
		}
		io.WriteString(w, `{"id":"ABC","token":"tranquil_ABC_DEF","expires":"2999-01-01T00:00:00Z","known":"here.2"}`)
	})
	for _, path := range []string{"readings", "substitutes"} {
		mux.HandleFunc("GET /api/v1/devices/d1/"+path, func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"readings":[{"device":"d1","path":"/3303/0","value":21.5,"unit":"Cel","component":"application/greeter","masking":{"state":"stale","until":"2026-11-22T08:00:00Z","late":true}}]}`)
		})
	}
	mux.HandleFunc("POST /api/v1/devices/d1/invitation", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"device":"d1","address":"https://tranquil.test/#t","command":"tranquil-agent enrol https://tranquil.test/#t","expires":"2026-11-22T08:00:00Z"}`)
	})
	mux.HandleFunc("DELETE /api/v1/tokens/ABC", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/api/v1/hub/", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer tranquil_ABC_DEF" {
			refuse(w)
			return
		}
		r.Header.Set("Authorization", "SharedAccessSignature of the backend's")
		http.StripPrefix("/api/v1/hub", hub).ServeHTTP(w, r)
	})
	return mux
}

const fakeTwin = `{"deviceId":"d1","version":7,"properties":{
  "desired":{"$version":3,"components":{"application/greeter":{"version":"2.1.0","attempt":2}}},
  "reported":{"state":"online","refused":{"components.x":"not a component"},"components":{"application/greeter":
    {"version":"2.0.0","schema":2,"running":true,"update":{"id":"u1","to":"2.1.0","result":"turned back","cause":"never\n\thealthy"}}}}}}`

// waitingTwin is of a device with an update that waits.
const waitingTwin = `{"deviceId":"waiting","properties":{"desired":{},"reported":{"state":"online","components":{"application/greeter":
  {"version":"2.0.0","running":true,"window":"Sat 00:00-24:00","consent":"ask","check":"0 3 * * *","dependants":{"application/reader":"stop"},"update":{"id":"u7","to":"2.1.0","phase":"preparation","step":"admit","progress":0.33,
   "waitingFor":"consent to update u7","waitingUntil":"2026-11-22T08:00:04Z"}}}}}}`

// goneTwin is of a device from which a component was removed.
const goneTwin = `{"deviceId":"gone","version":7,"properties":{"desired":{"components":{"application/greeter":{"remove":true}}},
  "reported":{"state":"online","components":{"application/greeter":{"running":false,"update":{"id":"u8","result":"removed"}}}}}}`

// mistypedTwin is of a device that is asked for components it does not have.
const mistypedTwin = `{"deviceId":"mistyped","properties":{"desired":{"$version":4,"components":{"greeter":{"version":"2.1.0"},"application/greter":{"version":"2.1.0"},"application/greeter":{"version":"2.1.0","window":"Sat 00:00-24:00","refused":"u6"}}},
  "reported":{"state":"online","refused":{"components/application/greter":"this device has no\ncomponent application/greter"},"components":{"application/greeter":{"version":"2.0.0"}}}}}`

// apartTwin is of a device whose component was repaired once, by number 4.
const apartTwin = `{"deviceId":"apart","version":3,"properties":{"desired":{"components":{"application/greeter":{"repair":{"number":3,"state":"keep"}}}},
  "reported":{"state":"malfunction","components":{"application/greeter":{"version":"2.0.0","running":false,"repaired":4,
    "states":{"9":{"version":"1.0.0","schema":1,"savedAt":"2026-11-22T08:00:04Z","bytes":512},"12":{"version":"2.0.0","schema":2,"savedAt":"2026-11-23T08:00:04Z","bytes":99,"damaged":true}},
    "update":{"id":"u4","kind":"repair","to":"2.0.0","result":"inconsistent","cause":"it does not run"}}}}}}`

// safeTwin is of a device whose agent is in safe mode.
const safeTwin = `{"deviceId":"safe","version":3,"properties":{"desired":{"repair":3},
  "reported":{"state":"malfunction","mode":"safe","fault":"cannot read\nthe journal","repaired":2}}}`

func (s *fakeServer) record(r *http.Request, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	fmt.Fprintf(f, "%s %s %s\n", r.Method, r.URL.Path, body)
}

// quick answers a wish before anybody follows its events.
func (s *fakeServer) quick(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.reads++
	twin := fakeTwin
	if s.reads > 1 {
		twin = strings.NewReplacer(`"version":7`, `"version":9`, `"u1"`, `"u2"`, "turned back", "unchanged").Replace(twin)
	}
	s.mu.Unlock()
	s.answer(twin)(w, r)
}

func (s *fakeServer) answer(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "SharedAccessSignature ") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		sent, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if r.Method != http.MethodGet {
			s.record(r, string(sent))
		}
		io.WriteString(w, body)
	}
}

func (s *fakeServer) refuse(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusNotFound)
	io.WriteString(w, `{"Message":"ErrorCode:DeviceNotFound;unknown is not registered"}`)
}

// stories are the bodies of the twin events of devices that answer a wish for
// version 2.1.0.
var stories = map[string][]string{
	"good": {
		`{"version":7,"properties":{"desired":{"components":{"application/greeter":{"version":"2.1.0"}}}}}`,
		`{"version":8,"properties":{"reported":{"components":{"application/greeter":{"update":{"id":"u2","phase":"preparation","step":"download","progress":0.25,"bytes":1048576,"size":4194304,"result":null,"cause":null}}}}}}`,
		`{"version":9,"properties":{"reported":{"components":{"application/greeter":{"update":{"step":"admit","progress":0.3,"bytes":null,"size":null,"waitingFor":"its maintenance window","waitingUntil":"2026-11-22T08:00:04Z"}}}}}}`,
		`{"version":10,"properties":{"reported":{"components":{"application/greeter":{"stale":true,"update":{"phase":"execution","step":"stop","progress":0.5,"waitingFor":null,"waitingUntil":null,"unavailableUntil":"2026-11-22T08:00:04Z"}}}}}}`,
		`{"version":11,"properties":{"reported":{"lwm2m":{"3303":{"0":{"5700":{"value":21.5,"ts":"2026-11-22T08:00:04Z"}}}}}}}`,
		`{"version":12,"properties":{"reported":{"components":{"application/greeter":{"version":"2.1.0","stale":false,"update":{"result":"updated","downtime":2.5,"step":"clean"}}}}}}`,
	},
	"bad": {
		`{"version":8,"properties":{"reported":{"components":{"application/greeter":{"update":{"id":"u2","to":"3.0.0","result":"updated"}}}}}}`,
		`{"version":9,"properties":{"reported":{"components":{"application/greeter":{"update":{"id":"u3","to":"2.1.0","phase":"transformation","step":"probe","back":true,"result":null,"cause":null}}}}}}`,
		`{"version":10,"properties":{"reported":{"components":{"application/greeter":{"update":{"back":null,"result":"turned back","cause":"no\nluck","downtime":1}}}}}}`,
	},
	"watched": {
		`{"version":8,"properties":{"reported":{"components":{"application/greeter":{"update":{"phase":"preparation","step":"download","progress":0.25,"bytes":1048576,"size":4194304}}}}}}`,
		`{"version":9,"properties":{"reported":{"components":{"application/greeter":{"stale":true,"update":{"phase":"execution","step":"stop","progress":0.5,"bytes":null,"size":null,"unavailableUntil":"2026-11-22T08:00:04Z"}}}}}}`,
		`{"version":10,"properties":{"reported":{"components":{"application/greeter":{"stale":false,"update":{"result":"turned back","cause":"no luck","downtime":1}}}}}}`,
	},
	"gone":     {`{"version":8,"properties":{"reported":{"components":{"application/greeter":{"version":null,"update":{"id":"u9","to":null,"result":"removed"}}}}}}`},
	"standing": {}, // says nothing new
	"apart":    {},
	"unsure":   {},
	"refusing": {`{"version":8,"properties":{"reported":{"refused":{"components/application/greeter":"the device refused"}}}}`},
}

// histories have the newest outcome first.
var histories = map[string]string{
	"safe": `{"since":"2026-11-01T08:00:00Z","outcomes":[
		{"component":"application/greeter","id":"u6","kind":"remove","from":"1.0.0","result":"removed","at":"2026-11-22T08:06:00Z"},
		{"component":"application/greeter","id":"u5","kind":"restore","from":"1.0.0","to":"1.0.0","result":"updated","at":"2026-11-22T08:05:00Z"},
		{"component":"application/greeter","id":"u4","kind":"rollback","from":"2.0.0","to":"1.0.0","result":"updated","at":"2026-11-22T08:04:00Z"},
		{"component":"application/greeter","id":"u7","kind":"update","from":"1.0.0","to":"2.0.0","result":"refused","cancelled":true,"cause":"cannot admit: cancelled as asked","downtime":0,"predicted":1,"at":"2026-11-22T08:03:00Z"},
		{"component":"application/greeter","id":"u3","kind":"update","from":"1.0.0","to":"2.0.0","result":"turned back","cancelled":true,"cause":"cancelled","warnings":"for no\nfile","at":"2026-11-22T08:02:00Z"},
		{"component":"application/greeter","id":"u2","from":"1.0.0","to":"2.0.0","result":"turned back","cause":"never\nhealthy","missed":2,"at":"2026-11-22T08:01:00Z"},
		{"component":"application/greeter","id":"u1","from":"","to":"1.0.0","result":"updated","downtime":1.25,"predicted":1,"stopped":"application/reader","rest":"forced","restReason":"it did not come to rest","at":"2026-11-22T08:00:00Z"}]}`,
	"good":   `{"outcomes":[]}`,
	"since":  sinceHistory,
	"unsure": sinceHistory,
}

// sinceHistory is of a device that got 2.1.0 as was wished for, and then another version by other means.
const sinceHistory = `{"outcomes":[{"component":"application/greeter","id":"u1","kind":"rollback","from":"2.1.0","to":"2.0.0","result":"updated","at":"2026-11-22T08:30:00Z"},
	{"component":"application/greeter","id":"u0","kind":"update","from":"2.0.0","to":"2.1.0","result":"updated","at":"2026-11-22T08:00:00Z"}]}`

// events tells a device's story and leaves the stream open. Of other devices it
// sends one event and refuses the next connection, so that the tool comes to
// an end.
func (s *fakeServer) events(w http.ResponseWriter, r *http.Request) {
	device := r.URL.Query().Get("device")
	s.mu.Lock()
	s.streams++
	again := s.streams%2 == 0
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	story, open := stories[device]
	open = open || device == "quick"
	if !open && again {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	if !open {
		story = []string{`{"version":8}`}
	}
	fmt.Fprint(w, "id: 4\n\n") // as the hub does: what comes is after this
	for i, body := range story {
		fmt.Fprintf(w, "id: %d\ndata: {\"id\":\"%[1]d\",\"type\":\"twinChanged\",\"device\":%q,\"time\":\"2026-11-22T08:00:00Z\",\"body\":%s}\n\n", i+5, device, body)
	}
	if open {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
}
