package main

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/tranquil-iot/tranquil/backend/internal/accounts"
	"github.com/tranquil-iot/tranquil/backend/internal/api"
	"github.com/tranquil-iot/tranquil/backend/internal/web"
)

var braces = regexp.MustCompile(`\{[a-z.]+\}`)

// TestRoutesAndRoles walks every route of pages and API for every role, and for nobody: who may not is refused before
// anything is looked at, and who may is not refused for that.
func TestRoutesAndRoles(t *testing.T) {
	t.Parallel()
	r := start(t)
	passwords := r.people(t, r.bearer(t, "admin", r.admin))
	nobody := &caller{running: r, http: r.client()}
	programs, browsers := map[accounts.Role]*caller{"": nobody}, map[accounts.Role]*caller{"": nobody}
	for role, password := range passwords {
		programs[role], browsers[role] = r.bearer(t, "a-"+string(role), password), r.browser(t, "a-"+string(role), password)
	}
	walked := 0
	for role := range programs {
		for _, route := range api.Routes() {
			path := api.Base + braces.ReplaceAllString(route.Path, "none")
			status, text := programs[role].send(t, route.Method, path, "application/json", strings.NewReader("{}"))
			judge(t, role, route.Method+" "+path, route.Right, status, text, "")
			walked++
		}
		for _, route := range web.Routes() {
			if route.Path == "/logout" {
				continue // it would end the walk
			}
			path := braces.ReplaceAllString(strings.TrimSuffix(route.Path, "{$}"), "none")
			var status int
			var text string
			if route.Method == http.MethodGet {
				status, text = browsers[role].get(t, path)
			} else {
				status, text = browsers[role].post(t, path+"?csrf="+browsers[role].csrf, url.Values{})
			}
			judge(t, role, route.Method+" "+path, route.Right, status, text, route.Method)
			walked++
		}
	}
	if walked < 5*(30+30) {
		t.Error("not all routes were walked: ", walked)
	}
}

// judge compares what a route has answered with what it has to. Nobody's pages lead to the login.
func judge(t *testing.T, role accounts.Role, what string, right accounts.Right, status int, text, method string) {
	t.Helper()
	lacks := status == http.StatusForbidden && strings.Contains(text, "needs the right to")
	unknown := status == http.StatusUnauthorized
	if role == "" && method == http.MethodGet {
		unknown = status == http.StatusSeeOther
	}
	switch {
	case right == 0:
		if lacks || role != "" && status == http.StatusSeeOther {
			t.Errorf("%s of %q is not open: %d", what, role, status)
		}
	case role == "":
		if !unknown {
			t.Errorf("%s of nobody: %d %.200s", what, status, text)
		}
	case role.Rights()&right == right && (lacks || unknown):
		t.Errorf("%s of %s: %d %.200s", what, role, status, text)
	case role.Rights()&right != right && !lacks:
		t.Errorf("%s of %s, who may not: %d %.200s", what, role, status, text)
	}
	if status >= http.StatusInternalServerError {
		t.Errorf("%s of %q: %d %.300s", what, role, status, text)
	}
}

// TestForeignPages: what another site has a browser send is refused, also where no session is needed, and a session
// alone changes nothing.
func TestForeignPages(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.browser(t, "admin", r.admin)
	foreign := func(path string, header map[string]string, form url.Values) int {
		req, err := http.NewRequestWithContext(t.Context(), "POST", r.url+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for key, value := range header {
			req.Header.Set(key, value)
		}
		res, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	right := url.Values{"csrf": {c.csrf}, "device": {"d"}}
	for what, test := range map[string]struct {
		path   string
		header map[string]string
		form   url.Values
		want   int
	}{
		"login from elsewhere":         {"/login", map[string]string{"Sec-Fetch-Site": "cross-site"}, url.Values{}, 403},
		"login from an older browser":  {"/login", map[string]string{"Origin": "https://evil.example"}, url.Values{}, 403},
		"a form from elsewhere":        {"/devices", map[string]string{"Sec-Fetch-Site": "cross-site"}, right, 403},
		"a form that knows no secret":  {"/devices", nil, url.Values{"device": {"d"}}, 403},
		"a form with another's secret": {"/devices", nil, url.Values{"csrf": {"x"}, "device": {"d"}}, 403},
		"our form":                     {"/devices", map[string]string{"Sec-Fetch-Site": "same-origin"}, right, 303},
	} {
		if status := foreign(test.path, test.header, test.form); status != test.want {
			t.Errorf("%s: %d, want %d", what, status, test.want)
		}
	}
	for from, want := range map[string]string{"/devices?q=x": "/devices?q=x", "https://evil.example/": "/devices", "//evil.example": "/devices", `/\evil.example`: "/devices", "x": "/devices"} {
		req := url.Values{"user": {"admin"}, "password": {r.admin}, "to": {from}}
		res, err := c.http.PostForm(r.url+"/login", req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := res.Header.Get("Location"); got != want {
			t.Errorf("to %s leads to %s", from, got)
		}
	}
}

// TestKnownPlaces: who guesses at a user's password keeps nobody out where that user has logged in before.
func TestKnownPlaces(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.browser(t, "admin", r.admin)
	var got struct{ Known string }
	login := func(known string) int {
		body := map[string]any{"user": "admin", "password": r.admin, "name": "t", "known": known}
		return (&caller{running: r, http: r.client()}).call(t, "POST", "/api/v1/login", body, &got)
	}
	if status := login(""); status != 200 || got.Known == "" {
		t.Fatal(status, got)
	}
	var strangers sync.WaitGroup // at once: one who waits gets further attempts
	for range 12 {
		strangers.Go(func() {
			if res, err := r.client().PostForm(r.url+"/login", url.Values{"user": {"admin"}, "password": {"guessed"}}); err == nil {
				res.Body.Close()
			}
		})
	}
	strangers.Wait()
	if status, _ := c.post(t, "/login", url.Values{"user": {"admin"}, "password": {r.admin}}); status != 303 {
		t.Errorf("a browser that is known may not go on: %d", status)
	}
	if status := login(got.Known); status != 200 {
		t.Errorf("a program that is known may not go on: %d", status)
	}
}

// TestHeaders: whatever is answered, a browser keeps no copy of it, takes it for nothing else, and loads nothing from
// elsewhere into it.
func TestHeaders(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.browser(t, "admin", r.admin)
	for _, path := range []string{"/login", "/devices", "/none", "/audit", "/assets/tranquil.js", "/api/v1/me", "/api/v1/none"} {
		res, err := c.http.Get(r.url + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		h := res.Header
		page := !strings.HasPrefix(path, "/api/")
		if page && (!strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("X-Content-Type-Options") != "nosniff") {
			t.Errorf("%s: %v", path, h)
		}
		if asset := strings.HasPrefix(path, "/assets/"); (h.Get("Cache-Control") == "no-store") == asset {
			t.Errorf("%s: %v", path, h)
		}
	}
}
