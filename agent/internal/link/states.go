package link

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// States is what an operator can do with the saved states of a component. What
// List and Show return is sent as JSON.
type States interface {
	List(component string) (any, error)
	Show(component string, generation uint64) (any, error)
	Export(component string, generation uint64, w io.Writer) error
	// Restore and GoBack begin an update, and return its identity.
	Restore(component string, generation uint64) (update string, err error)
	GoBack(component string, losing bool) (update string, err error)
}

func (s *Server) handleStates(mux *http.ServeMux) {
	named := func(r *http.Request) string { return r.PathValue("type") + "/" + r.PathValue("name") }
	numbered := func(f func(component string, gen uint64) (any, error)) http.HandlerFunc {
		return s.answer(func(r *http.Request) (any, error) {
			gen, err := generation(r)
			if err != nil {
				return nil, err
			}
			return f(named(r), gen)
		})
	}
	mux.HandleFunc("GET /v1/state/{type}/{name}", s.answer(func(r *http.Request) (any, error) { return s.States.List(named(r)) }))
	mux.HandleFunc("GET /v1/state/{type}/{name}/{generation}", numbered(func(c string, gen uint64) (any, error) { return s.States.Show(c, gen) }))
	mux.HandleFunc("POST /v1/state/{type}/{name}/{generation}/restore", numbered(func(c string, gen uint64) (any, error) {
		return s.States.Restore(c, gen)
	}))
	mux.HandleFunc("POST /v1/state/{type}/{name}/import", s.answer(func(r *http.Request) (any, error) {
		schema, err := strconv.Atoi(r.URL.Query().Get("schema"))
		if err != nil || schema < 0 {
			return nil, fmt.Errorf("%q is no schema: they are numbers from 1", r.URL.Query().Get("schema"))
		}
		query := r.URL.Query()
		return s.Import(r.Context(), named(r), r.Body, schema, query.Get("outside") == "true", query.Get("privileged") == "true")
	}))
	mux.HandleFunc("POST /v1/rollback/{type}/{name}", s.answer(func(r *http.Request) (any, error) {
		return s.States.GoBack(named(r), r.URL.Query().Get("losing") == "true")
	}))
	mux.HandleFunc("GET /v1/state/{type}/{name}/{generation}/tar", func(w http.ResponseWriter, r *http.Request) { s.export(w, r, named(r)) })
}

func generation(r *http.Request) (uint64, error) {
	gen, err := strconv.ParseUint(r.PathValue("generation"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no generation: they are numbers from 1", r.PathValue("generation"))
	}
	return gen, nil
}

// answer sends what f returns; an error is 409 with its text.
func (s *Server) answer(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			s.Log.Warn("cannot answer an operator", "error", err)
		}
	}
}

// export sends an archive. One that breaks off in the middle ends the
// connection, so that nobody takes it for whole.
func (s *Server) export(w http.ResponseWriter, r *http.Request, component string) {
	gen, err := generation(r)
	sent := &counter{Writer: w}
	if err == nil {
		err = s.States.Export(component, gen, sent)
	}
	switch {
	case err != nil && sent.n == 0:
		http.Error(w, err.Error(), http.StatusConflict)
	case err != nil:
		s.Log.Warn("cannot export state", "component", component, "generation", gen, "error", err)
		_ = http.NewResponseController(w).Flush() // so that it is seen to begin, and to break off
		panic(http.ErrAbortHandler)
	}
}

type counter struct {
	io.Writer
	n int
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n += n
	return n, err
}

// ListStates asks the agent behind a control socket for the saved states of a
// component; into is what its States lists.
func ListStates(ctx context.Context, control, component string, into any) error {
	return askJSON(ctx, control, http.MethodGet, "/v1/state/"+component, into)
}

// ShowState asks what is in one generation.
func ShowState(ctx context.Context, control, component string, generation uint64, into any) error {
	return askJSON(ctx, control, http.MethodGet, fmt.Sprintf("/v1/state/%s/%d", component, generation), into)
}

// RestoreState begins the update that restores a generation.
func RestoreState(ctx context.Context, control, component string, generation uint64) (update string, err error) {
	err = askJSON(ctx, control, http.MethodPost, fmt.Sprintf("/v1/state/%s/%d/restore", component, generation), &update)
	return update, err
}

// GoBack begins the update that goes back to the previous version; if losing, also
// without a present state that cannot be saved.
func GoBack(ctx context.Context, control, component string, losing bool) (update string, err error) {
	err = askJSON(ctx, control, http.MethodPost, fmt.Sprintf("/v1/rollback/%s?losing=%t", component, losing), &update)
	return update, err
}

// ExportState writes a generation as a tar archive. After an error what was
// written is not whole.
func ExportState(ctx context.Context, control, component string, generation uint64, to io.Writer) error {
	answer, done, err := ask(ctx, control, http.MethodGet, fmt.Sprintf("/v1/state/%s/%d/tar", component, generation), nil)
	if err != nil {
		return err
	}
	defer done()
	if _, err := io.Copy(to, answer.Body); err != nil {
		return fmt.Errorf("the archive breaks off, most likely because the state is damaged: %w", err)
	}
	return nil
}

// ImportState makes a saved state of an archive. The schema is that of the
// state, if the archive does not say it; outside has symbolic links that lead
// out of the state be, and privileged files that are setuid, setgid or have
// capabilities.
func ImportState(ctx context.Context, control, component string, archive io.Reader, schema int, outside, privileged bool) (generation uint64, err error) {
	path := fmt.Sprintf("/v1/state/%s/import?schema=%d&outside=%t&privileged=%t", component, schema, outside, privileged)
	answer, done, err := ask(ctx, control, http.MethodPost, path, archive)
	if err != nil {
		return 0, err
	}
	defer done()
	if err := json.NewDecoder(answer.Body).Decode(&generation); err != nil {
		return 0, fmt.Errorf("cannot read the agent's answer: %w", err)
	}
	return generation, nil
}

func askJSON(ctx context.Context, control, method, path string, into any) error {
	b, err := call(ctx, control, method, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("cannot read the agent's answer: %w", err)
	}
	return nil
}
