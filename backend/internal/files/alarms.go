package files

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/trust"
)

// How often it is looked what somebody has to see to, and people are told again. A
// timestamp is good for two days, so that there is a day to mend.
const (
	alarmCheck = 10 * time.Minute
	alarmAgain = 24 * time.Hour
)

// tellings remembers what people were told, by what it is about.
type tellings map[string]told

// told is the last alarm.
type told struct {
	problem string
	at      time.Time
}

// tell logs a problem that is new, or was told a day ago. "" is none.
func (t tellings) tell(log *slog.Logger, about, problem string, now time.Time, message string, args ...any) {
	before := t[about]
	if problem == "" || problem == before.problem && now.Sub(before.at) < alarmAgain {
		return
	}
	t[about] = told{problem, now}
	log.Error(message, append(args, "problem", problem)...)
}

// Alarms are what somebody has to see to, in words: signatures that are about to
// expire and a store that is about to be full.
func (s *Server) Alarms() []string {
	all := []string{}
	if s.trust.repository.Founded() {
		for _, role := range s.trust.lastStandings() {
			if role.Problem != "" {
				all = append(all, fmt.Sprintf("Trust metadata, role %s: %s", role.Role, role.Problem))
			}
		}
	}
	if problem := s.catalog.quota.problem(); problem != "" {
		all = append(all, problem)
	}
	return all
}

// keepTelling logs that the store is about to be full, until ctx ends.
func (c *catalog) keepTelling(ctx context.Context) error {
	ticker := time.NewTicker(alarmCheck)
	defer ticker.Stop()
	for said := (tellings{}); ; {
		said.tell(c.log, "quota", c.quota.problem(), time.Now(), "package store needs somebody")
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// metrics answers with the same as numbers, for whoever watches many servers
// (Prometheus text format 0.0.4).
func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	var b bytes.Buffer
	gauge := func(name, help string) {
		fmt.Fprintf(&b, "# HELP %[1]s %[2]s\n# TYPE %[1]s gauge\n", name, help)
	}
	used, limit := s.catalog.quota.room()
	gauge("tranquil_files_store_bytes", "Bytes of packages and uploads.")
	fmt.Fprintf(&b, "tranquil_files_store_bytes %d\n", used)
	gauge("tranquil_files_quota_bytes", "Bytes that they may have; 0 is no bound.")
	fmt.Fprintf(&b, "tranquil_files_quota_bytes %d\n", limit)
	gauge("tranquil_files_alarms", "Things that somebody has to see to.")
	fmt.Fprintf(&b, "tranquil_files_alarms %d\n", len(s.Alarms()))
	var roles []trust.Standing
	if s.trust.repository.Founded() {
		roles = s.trust.lastStandings()
	}
	gauge("tranquil_trust_expires_seconds", "Unix time when the metadata of a role expires.")
	for _, r := range roles {
		if !r.Expires.IsZero() {
			fmt.Fprintf(&b, "tranquil_trust_expires_seconds{role=%q} %d\n", r.Role, r.Expires.Unix())
		}
	}
	gauge("tranquil_trust_problem", "1 if somebody has to see to a role.")
	for _, r := range roles {
		problem := 0
		if r.Problem != "" {
			problem = 1
		}
		fmt.Fprintf(&b, "tranquil_trust_problem{role=%q} %d\n", r.Role, problem)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	w.Write(b.Bytes())
}
