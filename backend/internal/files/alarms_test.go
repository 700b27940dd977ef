package files

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/trust"
)

// TestAlarms: what somebody has to see to is told in words and in numbers, and no more
// when that was done.
func TestAlarms(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	if got := s.Alarms(); len(got) != 0 {
		t.Errorf("of a server without trust: %q", got)
	}
	o := begin(t, s)
	p := mustPush(t, s, variation{version: "1.0.0", arch: "amd64", body: "x"})
	expect := func(when string, metrics []string, alarms ...string) {
		t.Helper()
		got := s.Alarms()
		for i := range max(len(got), len(alarms)) {
			if i >= len(got) || i >= len(alarms) || !strings.Contains(got[i], alarms[i]) {
				t.Errorf("%s: %q, want %q", when, got, alarms)
				break
			}
		}
		resp, b := get(t, s, "/metrics")
		for _, line := range metrics {
			if !strings.Contains(string(b), line+"\n") {
				t.Errorf("%s: no %q in %s\n%s", when, line, resp.Status, b)
			}
		}
	}
	expect("all is well", []string{"tranquil_files_alarms 0", "tranquil_files_quota_bytes 0", `tranquil_trust_problem{role="root"} 0`})

	s.catalog.quota.mu.Lock()
	s.catalog.quota.limit = s.catalog.quota.used * 10 / 9
	s.catalog.quota.mu.Unlock()
	expect("almost full", []string{"tranquil_files_alarms 1"}, "raise files.quota")
	as(t, http.MethodDelete, s, "/v2/"+component+"/manifests/"+p.Digest, "")
	expect("with room again", []string{"tranquil_files_alarms 0", "tranquil_files_store_bytes 0"})

	longAgo := time.Now().Add(10*24*time.Hour - trust.OfflineValidity)
	old, err := o.dir.Amend(trust.Root, trust.Change{}, []trust.Key{o.root}, longAgo)
	if err != nil {
		t.Fatal(err)
	}
	o.publish(old)
	expect("a root that expires", []string{`tranquil_trust_problem{role="root"} 1`, "tranquil_files_alarms 1"}, "role root: it expires in 9 days")
}
