package limit

import "sync"

// Seats are places that some hold for as long as they like. The zero value is ready.
type Seats[K comparable] struct {
	mu    sync.Mutex
	taken map[K]int
	all   int
}

// Take takes a place, if not all of so many are taken, and the one who wants it has fewer than each may. leave gives it
// back; it is to be called once.
func (s *Seats[K]) Take(who K, each, most int) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken[who] >= each || s.all >= most {
		return nil, false
	}
	if s.taken == nil {
		s.taken = map[K]int{}
	}
	s.taken[who]++
	s.all++
	return func() { s.leave(who) }, true
}

func (s *Seats[K]) leave(who K) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.taken[who]--; s.taken[who] == 0 {
		delete(s.taken, who)
	}
}
