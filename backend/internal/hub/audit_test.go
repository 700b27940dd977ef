package hub

import "testing"

// TestDetail: what is written down of a change has no key of a device.
func TestDetail(t *testing.T) {
	const key = `"authentication":{"symmetricKey":{"primaryKey":"c2VjcmV0"}}`
	for _, test := range []struct{ pattern, body, want string }{
		{"PUT /devices/{id}", `{"deviceId":"d",` + key + `}`, ""},
		{"PUT /devices/{id}/modules/{module}", `{` + key + `}`, ""},
		{"POST /devices", `[{"id":"d","importMode":"create",` + key + `}]`, `[{"id":"d","importMode":"create"}]`},
		{"POST /devices/{$}", `[{"id":"d"}]`, `[{"id":"d"}]`},
		{"POST /devices", `{"id":` + key + `}`, "null"},
		{"PATCH /twins/{id}", `{"tags":{"a":1}}`, `{"tags":{"a":1}}`},
		{"POST /twins/{id}/methods", `{"methodName":"read"}`, `{"methodName":"read"}`},
		{"POST /devices/{id}/messages/deviceBound", "not JSON", ""},
		{"DELETE /devices/{id}", "", ""},
	} {
		if got := string(detailOf(test.pattern, []byte(test.body))); got != test.want {
			t.Errorf("%s %s: %s", test.pattern, test.body, got)
		}
	}
	for pattern, want := range map[string]bool{"GET /twins/{id}": false, "POST /devices/query": false, "POST /configurations/testQueries": false, "PUT /jobs/v2/{job}": true, "POST /devices": true, "DELETE /messages/serviceBound/feedback/{token}": false} {
		if changes(pattern) != want {
			t.Error(pattern)
		}
	}
}
