package lwm2m

import (
	"testing"
	"time"
)

// FuzzRestore reads what a store may have instead of what was put there.
func FuzzRestore(f *testing.F) {
	f.Add([]byte(`{"Registration":{"ID":"1","Endpoint":"a","Address":"127.0.0.1:1","Lifetime":60000000000,"Version":"1.1","Links":[{"Target":"/3/0"}]},"Observed":[{"Token":"AQ==","Paths":["/3/0/9"]},{"Token":"Ag==","Paths":["/3","/4"]}]}`))
	f.Add([]byte(`{"Registration":{"ID":"1","Endpoint":"a","Lifetime":1},"Observed":[{}]}`))
	f.Fuzz(func(t *testing.T, state []byte) {
		s := NewServer(ServerConfig{MaxLifetime: time.Hour})
		if s.restoreOne(state) != nil {
			return
		}
		for _, d := range s.Devices() {
			if r := d.Registration(); r.Endpoint == "" || r.Lifetime <= 0 || r.Lifetime > time.Hour {
				t.Errorf("restored %+v", r)
			}
			for _, paths := range d.Earlier() {
				if len(paths) == 0 {
					t.Error("an observation of nothing")
				}
			}
			s.remove(d)
		}
		if len(s.observations) > 0 {
			t.Errorf("%d observations are left", len(s.observations))
		}
	})
}
