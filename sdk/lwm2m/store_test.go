package lwm2m

import (
	"testing"
	"testing/synctest"
	"time"
)

// counting is a store that counts.
type counting map[string]int

func (c counting) Save(endpoint string, _ []byte) error { c[endpoint]++; return nil }
func (c counting) Remove(endpoint string) error         { c[endpoint]++; return nil }
func (c counting) Load() (map[string][]byte, error)     { return nil, nil }

// TestAStoreIsSpared: a device that changes all the time is saved now and then, and at the
// end as it is; others at once.
func TestAStoreIsSpared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := counting{}
		s := NewServer(ServerConfig{Store: c})
		stop := make(chan struct{})
		ended := make(chan struct{})
		go func() { defer close(ended); s.keepStore(stop) }()
		for range 3000 { // half a minute
			s.keep("restless")
			time.Sleep(10 * time.Millisecond)
		}
		s.keep("other")
		synctest.Wait()
		if n := c["restless"]; n < maxSpree || n > 5*maxSpree || c["other"] != 1 {
			t.Errorf("saved %v", c)
		}
		before := c["restless"]
		s.keep("restless")
		close(stop)
		<-ended
		if c["restless"] == before {
			t.Error("the last change is not saved")
		}
		time.Sleep(2 * time.Second) // for the timers
	})
}

// FuzzRestore reads what a store may have instead of what was put there.
func FuzzRestore(f *testing.F) {
	f.Add([]byte(`{"Registration":{"ID":"1","Endpoint":"a","Address":"127.0.0.1:1","Lifetime":60000000000,"Version":"1.1"},"List":"</3/0>","Observed":[{"Token":"AQ==","Paths":["/3/0/9"]},{"Token":"Ag==","Paths":["/3","/4"]}]}`))
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
