// Package web is the operator's pages: rendered here, live by server-sent events, and without anything to build. Pages
// work without scripts too; a script has them follow what happens.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/accounts"
	"github.com/tranquil-iot/tranquil/backend/internal/audit"
	"github.com/tranquil-iot/tranquil/backend/internal/enrolment"
	"github.com/tranquil-iot/tranquil/backend/internal/fleet"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/backend/internal/webhook"
)

//go:embed assets
var assets embed.FS

//go:embed pages
var sources embed.FS

// Web serves pages.
type Web struct {
	Accounts  *accounts.Accounts
	Audit     *audit.Log
	Fleet     *fleet.Fleet
	Enrolment *enrolment.Desk
	Webhooks  *webhook.Service
	Log       *slog.Logger
}

// A Route is one page, or one thing that a form does.
type Route struct {
	Method, Path string
	Right        accounts.Right // that it needs; 0: none, it is open to anybody
	serve        func(*Web, *visit) error
}

// Routes lists them all.
func Routes() []Route {
	const device, component = "/devices/{id}", "/devices/{id}/components/{type}/{name}"
	const offer = "/packages/{type}/{name}"
	return []Route{
		{"GET", "/login", 0, (*Web).askLogin},
		{"POST", "/login", 0, (*Web).login},
		{"POST", "/logout", accounts.Read, (*Web).logout},
		{"GET", "/{$}", accounts.Read, func(_ *Web, v *visit) error { return v.leave("/devices", "") }},

		{"GET", "/devices", accounts.Read, (*Web).listDevices},
		{"POST", "/devices", accounts.Operate, (*Web).createDevice},
		{"GET", device, accounts.Read, (*Web).showDevice},
		{"POST", device + "/delete", accounts.Operate, (*Web).deleteDevice},
		{"POST", device + "/admission", accounts.Operate, (*Web).admitDevice},
		{"POST", device + "/keys", accounts.Operate, (*Web).showKeys},
		{"POST", device + "/newkeys", accounts.Operate, (*Web).newKeys},
		{"POST", device + "/invitation", accounts.Operate, (*Web).invite},
		{"GET", device + "/twin", accounts.Read, (*Web).showTwin},
		{"POST", device + "/twin", accounts.Operate, (*Web).reviewTwin},
		{"POST", device + "/twin/save", accounts.Operate, (*Web).saveTwin},
		{"GET", device + "/resources", accounts.Read, (*Web).showResources},
		{"POST", device + "/resources", accounts.Operate, (*Web).callResource},

		{"POST", component + "/push", accounts.Operate, (*Web).pushOne},
		{"POST", component + "/terms", accounts.Operate, (*Web).setTerms},
		{"POST", component + "/consent", accounts.Operate, simply((*fleet.Fleet).Consent, "consented")},
		{"POST", component + "/cancel", accounts.Operate, simply((*fleet.Fleet).Cancel, "cancelled")},
		{"POST", component + "/rollback", accounts.Operate, simply((*fleet.Fleet).Rollback, "pushed")},
		{"POST", device + "/repair", accounts.Operate, (*Web).repairDevice},
		{"POST", component + "/repair", accounts.Operate, (*Web).mendComponent},
		{"POST", component + "/remove", accounts.Operate, (*Web).removeComponent},
		{"GET", "/push", accounts.Operate, (*Web).askPush},
		{"POST", "/push", accounts.Operate, (*Web).pushMany},

		{"GET", "/packages", accounts.Read, (*Web).listPackages},
		{"POST", "/packages", accounts.Publish, (*Web).uploadPackage},
		{"GET", offer, accounts.Read, (*Web).showPackages},
		{"POST", offer + "/{version}/withdraw", accounts.Publish, (*Web).withdrawPackage},

		{"GET", "/account", accounts.Read, (*Web).showAccount},
		{"POST", "/account/password", accounts.Read, (*Web).changePassword},
		{"POST", "/account/tokens", accounts.Read, (*Web).createToken},
		{"POST", "/account/tokens/{token}/end", accounts.Read, (*Web).endToken},
		{"GET", "/users", accounts.Administer, (*Web).listUsers},
		{"POST", "/users", accounts.Administer, (*Web).createUser},
		{"POST", "/users/{user}", accounts.Administer, (*Web).changeUser},
		{"POST", "/users/{user}/delete", accounts.Administer, (*Web).deleteUser},
		{"GET", "/webhooks", accounts.Administer, (*Web).listWebhooks},
		{"POST", "/webhooks", accounts.Administer, (*Web).createWebhook},
		{"POST", "/webhooks/{hook}/delete", accounts.Administer, (*Web).deleteWebhook},
		{"POST", "/webhooks/{hook}/deadletters/{event}", accounts.Administer, (*Web).resendDeadLetter},
		{"GET", "/audit", accounts.Administer, (*Web).listChanges},
	}
}

// maxForm bounds what a form brings, files aside.
const maxForm = 256 << 10

// policy lets pages load nothing from elsewhere, nor be part of other pages.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// Handler serves all pages.
func (w *Web) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, route := range Routes() {
		mux.Handle(route.Method+" "+route.Path, w.serve(route))
	}
	mux.Handle("GET /assets/", http.HandlerFunc(serveAsset))
	mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
		w.refuse(&visit{Request: r, w: rw}, fmt.Errorf("page %s: %w", r.URL.Path, fs.ErrNotExist))
	})
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		mux.ServeHTTP(rw, r)
	})
}

func serveAsset(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Cache-Control", "public, max-age=31536000, immutable") // its address has its hash
	http.ServeFileFS(rw, r, assets, r.URL.Path[1:])
}

func (w *Web) serve(route Route) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		v := &visit{Request: r, w: rw}
		if route.Path != "/packages" { // a file is read by who takes it
			r.Body = http.MaxBytesReader(rw, r.Body, maxForm)
		}
		if route.Right != 0 {
			ctx, err := w.Accounts.Identify(r)
			if err == nil {
				v.alarms = w.Fleet.Alarms()
				v.Request, v.Me = r.WithContext(ctx), accounts.Of(ctx)
				err = v.Me.May(route.Right)
			}
			if err != nil {
				w.refuse(v, err)
				return
			}
		}
		if err := route.serve(w, v); err != nil {
			w.refuse(v, err)
		}
	})
}

// refuse shows an error. Who is not logged in is asked to be, and comes back.
func (w *Web) refuse(v *visit, err error) {
	status, text := fleet.Refusal(err)
	if status == http.StatusUnauthorized && v.Method == http.MethodGet {
		http.Redirect(v.w, v.Request, "/login?to="+url.QueryEscape(v.URL.RequestURI()), http.StatusSeeOther)
		return
	}
	if status >= http.StatusInternalServerError && v.Context().Err() == nil { // else the browser has gone
		w.Log.Error("request failed", "method", v.Method, "path", v.URL.Path, "error", err)
	}
	v.status = status
	if err := v.show("error", http.StatusText(status), text); err != nil {
		w.Log.Error("cannot show error", "error", err)
	}
}

// A visit is one request of somebody's browser.
type visit struct {
	*http.Request
	w      http.ResponseWriter
	Me     accounts.Identity
	status int
	alarms []string // that people see on each page once they are logged in
}

// A view is what a page is made of.
type view struct {
	Title string
	Me    accounts.Identity
	Path  string
	Said  string   // what has just been done
	Alarm []string // what somebody has to see to
	Now   time.Time
	Data  any
}

// Can tells whether the visitor has a right.
func (v view) Can(right string) bool {
	needed, err := accounts.ParseRights([]string{right})
	return err == nil && v.Me.May(needed) == nil
}

// said are the words for what a form has done, by the key that a redirect carries.
var said = map[string]string{
	"created":   "The device is registered.",
	"deleted":   "It is deleted.",
	"saved":     "It is saved.",
	"pushed":    "The device is asked for it.",
	"scheduled": "The device is told when.",
	"consented": "The update may begin.",
	"cancelled": "The update shall turn back.",
	"removed":   "The device is asked to remove it.",
	"ended":     "The token has ended.",
	"uploaded":  "The package is published.",
	"sent":      "It is sent.",
	"repair":    "The device is asked to repair it.",
}

// show renders a page.
func (v *visit) show(page, title string, data any) error {
	var b bytes.Buffer
	about := view{title, v.Me, v.URL.Path, said[v.URL.Query().Get("said")], v.alarms, time.Now(), data}
	if err := pages[page].ExecuteTemplate(&b, "base.html", about); err != nil {
		return fmt.Errorf("cannot render page: %w", err)
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if v.status != 0 {
		v.w.WriteHeader(v.status)
	}
	v.w.Write(b.Bytes()) // a browser that is gone needs no page
	return nil
}

// leave goes on to another page, which says what was done.
func (v *visit) leave(path, done string) error {
	if done != "" {
		path += "?said=" + done
	}
	http.Redirect(v.w, v.Request, path, http.StatusSeeOther)
	return nil
}

// id is the device that the path names, and home its page.
func (v *visit) id() string   { return v.PathValue("id") }
func (v *visit) home() string { return "/devices/" + url.PathEscape(v.id()) }

// component is the one that the path names.
func (v *visit) component() string { return v.PathValue("type") + "/" + v.PathValue("name") }

// askLogin shows the form.
func (w *Web) askLogin(v *visit) error {
	return v.show("login", "Log in", login{To: v.FormValue("to")})
}

// login is the form.
type login struct{ To, User, Problem string }

func (w *Web) login(v *visit) error {
	form := login{To: v.PostFormValue("to"), User: v.PostFormValue("user")}
	secret, err := w.Accounts.Login(v.Context(), form.User, v.PostFormValue("password"), accounts.OriginOf(v.Request))
	if _, refused := errors.AsType[*twin.Error](err); refused {
		v.status, form.Problem = fleet.Refusal(err)
		return v.show("login", "Log in", form)
	}
	if err != nil {
		return err
	}
	http.SetCookie(v.w, accounts.NewCookie(secret))
	http.SetCookie(v.w, w.Accounts.NewKnownCookie(form.User))
	return v.leave(local(form.To), "")
}

// local is a path on this server, whatever somebody wants it to be.
func local(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Host != "" || u.Scheme != "" || len(to) < 2 || to[0] != '/' || to[1] == '/' || to[1] == '\\' {
		return "/devices"
	}
	return to
}

func (w *Web) logout(v *visit) error {
	if err := w.Accounts.Logout(v.Context(), v.Me); err != nil {
		return err
	}
	http.SetCookie(v.w, accounts.NewCookie(""))
	return v.leave("/login", "")
}

// pages are the templates by name, each with the frame that all share.
var pages = parsePages()

func parsePages() map[string]*template.Template {
	base := template.Must(template.New("base.html").Funcs(words).ParseFS(sources, "pages/base.html", "pages/parts.html"))
	files, err := fs.Glob(sources, "pages/*.html")
	if err != nil {
		panic(err)
	}
	all := map[string]*template.Template{}
	for _, file := range files {
		name := file[len("pages/") : len(file)-len(".html")]
		all[name] = template.Must(template.Must(base.Clone()).ParseFS(sources, file))
	}
	return all
}

// asset is the address of a file, which changes with it.
func asset(name string) (string, error) {
	b, err := assets.ReadFile("assets/" + name)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return "/assets/" + name + "?" + hex.EncodeToString(sum[:6]), nil
}
