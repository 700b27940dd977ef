package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// What the file server answers is told to people, not to programs.
func TestRefusal(t *testing.T) {
	tests := map[string]struct {
		status int
		body   string
		want   string
	}{
		"as registries do":     {403, `{"errors":[{"code":"DENIED","message":"not signed by enough"}]}`, "the file server does not take 2.root.json: not signed by enough"},
		"about what was taken": {409, `{"errors":[{"code":"DENIED","message":"2.root.json is published, but not signed"}]}`, "the file server says: 2.root.json is published, but not signed"},
		"by something between": {502, "no gateway\n", "the file server does not take 2.root.json: 502 Bad Gateway no gateway"},
		"of another token":     {401, `{"errors":[]}`, "the file server does not take 2.root.json: the token in $TRANQUIL_TOKEN is not its own"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.status)
				w.Write([]byte(test.body))
			}))
			defer server.Close()
			s := &session{cli: &cli{Files: server.URL, Token: "t"}}
			f, err := s.publisher(false)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.do(t.Context(), http.MethodPut, "2.root.json", nil); err == nil || err.Error() != test.want {
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
}
