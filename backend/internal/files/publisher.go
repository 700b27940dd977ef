package files

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// publisher lets only the bearer of the publisher's token through.
func (s *Server) publisher(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.authorised(r) {
			s.challenge(w)
			return
		}
		next(w, r)
	}
}

// authorised looks for the token, as a bearer's or as anybody's password, which is
// what registry clients can be told.
func (s *Server) authorised(r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		_, token, ok = r.BasicAuth()
	}
	want, got := sha256.Sum256([]byte(s.cfg.Token)), sha256.Sum256([]byte(token)) // hashed, so that lengths do not show
	return ok && s.cfg.Token != "" && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

func (s *Server) challenge(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Basic realm="packages"`)
	s.fail(w, refuse(http.StatusUnauthorized, "UNAUTHORIZED", "pushing packages needs the publisher's token, as the password of any user"))
}

// greet says that this is a registry. Clients learn here, and only here, how to
// show who they are; whoever only reads may pass over it.
func (s *Server) greet(w http.ResponseWriter, r *http.Request) {
	if s.cfg.Token != "" && !s.authorised(r) {
		s.challenge(w)
		return
	}
	w.WriteHeader(http.StatusOK)
}
