package hub

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// An Audit has a change that the bearer of a policy's key asks for written down, does it, and writes down if it fails.
// detail is JSON, or nil.
type Audit func(r *http.Request, policy string, detail json.RawMessage, change func() error) error

// changes tells whether a route changes what is kept. Queries are posted too, and whoever ends feedback has read it.
func changes(pattern string) bool {
	for _, reads := range []string{"/query", "/testQueries", "/feedback/{token}", "/feedback/{token}/abandon"} {
		if strings.HasSuffix(pattern, reads) {
			return false
		}
	}
	return !strings.HasPrefix(pattern, "GET ")
}

// audited has what a handler does written down. A body that cannot be read is for the handler to refuse.
func audited(audit Audit, pattern string, handle handler) handler {
	if audit == nil || !changes(pattern) {
		return handle
	}
	return func(w http.ResponseWriter, r *http.Request, allowed right) error {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		token, err := iothub.ParseToken(r.Header.Get("Authorization"))
		if err != nil {
			return err
		}
		return audit(r, token.Policy, detailOf(pattern, body), func() error { return handle(w, r, allowed) })
	}
}

// maxDetail bounds what is written down of a body, in bytes.
const maxDetail = 32 << 10

// detailOf is what may be written down of a body: of those with keys of devices only which devices they are about.
func detailOf(pattern string, body []byte) json.RawMessage {
	switch {
	case strings.HasPrefix(pattern, "POST /devices") && !strings.Contains(pattern, "{id}"):
		var list []struct {
			ID         string `json:"id"`
			ImportMode string `json:"importMode,omitempty"`
		}
		json.Unmarshal(body, &list)  // what is no list has nothing to tell
		body, _ = json.Marshal(list) // of strings only
	case strings.HasPrefix(pattern, "PUT /devices"):
		return nil
	}
	if len(body) > maxDetail || !json.Valid(body) {
		return nil
	}
	return body
}
