package link

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/component"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// Dependants are those on this device who depend on a component.
type Dependants interface {
	// Subscribe tells a dependant of a component, until cancel.
	Subscribe(pack.Dependant) (notices <-chan component.Notice, cancel func(), err error)
	Ready(component.Answer)
	Defer(component.Answer) (until time.Time, err error)
}

func (s *Server) dependence(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	notices, cancel, err := s.Dependants.Subscribe(pack.Dependant{
		Component: query.Get("name"), Of: query.Get("of"), Policy: query.Get("policy"),
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	defer cancel()
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	for {
		select {
		case n := <-notices:
			if err := send(w, out, n); err != nil {
				return
			}
		case <-r.Context().Done():
			return
		case <-s.done:
			return
		}
	}
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if a, ok := readAnswer(w, r); ok {
		s.Dependants.Ready(a)
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *Server) deferred(w http.ResponseWriter, r *http.Request) {
	a, ok := readAnswer(w, r)
	if !ok {
		return
	}
	until, err := s.Dependants.Defer(a)
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]time.Time{"until": until}) // else the dependant is gone
}

func readAnswer(w http.ResponseWriter, r *http.Request) (a component.Answer, ok bool) {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&a); err != nil {
		http.Error(w, "malformed answer: "+err.Error(), http.StatusBadRequest)
		return a, false
	}
	return a, true
}
