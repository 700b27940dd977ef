package files

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// An upload is a file in a directory of its own, named by its id: nothing else is
// kept of it, so that a publisher can go on after the server was started anew.
var uploadID = regexp.MustCompile(`^[A-Z2-7]{26}$`)

func (c *catalog) uploads() string { return filepath.Join(c.dir, "uploads") }

func (c *catalog) beginUpload() (id string, err error) {
	id = rand.Text()
	f, err := os.OpenFile(filepath.Join(c.uploads(), id), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", fmt.Errorf("cannot begin upload: %w", err)
	}
	return id, f.Close()
}

// openUpload returns an upload and its size. Nobody else has it until it is closed.
func (c *catalog) openUpload(id string) (f *os.File, size int64, done func(), err error) {
	unknown := refuse(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "no upload %.40q: begin anew", id)
	if !uploadID.MatchString(id) {
		return nil, 0, nil, unknown
	}
	if _, busy := c.busy.LoadOrStore(id, true); busy {
		return nil, 0, nil, refuse(http.StatusConflict, "BLOB_UPLOAD_INVALID", "another request of this upload is under way")
	}
	f, err = os.OpenFile(filepath.Join(c.uploads(), id), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		err = unknown
	}
	if err == nil {
		size, err = f.Seek(0, io.SeekEnd)
	}
	done = func() {
		f.Close()
		c.busy.Delete(id)
	}
	if err != nil {
		done()
	}
	return f, size, done, err
}

// A chunk says where in a blob the body of a request belongs.
type chunk struct{ first, last int64 }

// anywhere is the chunk of a request that does not say it: all that it brings goes
// to the end.
var anywhere = chunk{-1, -1}

var chunkForm = regexp.MustCompile(`^(?:bytes )?([0-9]{1,18})-([0-9]{1,18})$`)

// parseChunk reads a Content-Range as the OCI distribution specification has it,
// "0-1023", which is none of HTTP.
func parseChunk(header string) (chunk, error) {
	if header == "" {
		return anywhere, nil
	}
	m := chunkForm.FindStringSubmatch(header)
	if m == nil {
		return chunk{}, refuse(http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "malformed Content-Range %.80q, want first-last", header)
	}
	first, _ := strconv.ParseInt(m[1], 10, 64) // eighteen digits fit
	last, _ := strconv.ParseInt(m[2], 10, 64)
	if last < first {
		return chunk{}, refuse(http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "Content-Range %.80q ends before it begins", header)
	}
	return chunk{first, last}, nil
}

// errOrder says that a chunk does not go on where the one before has ended.
var errOrder = errors.New("chunks have to come one after the other")

// extend adds a chunk to an upload, and returns its size then.
func (c *catalog) extend(id string, at chunk, r io.Reader) (int64, error) {
	f, size, done, err := c.openUpload(id)
	if err != nil {
		return 0, err
	}
	defer done()
	if at != anywhere && at.first != size {
		return size, refuse(http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", "%w: there are %d bytes", errOrder, size)
	}
	n, err := io.Copy(&metered{f, c.quota}, r)
	size += n
	refused, is := errors.AsType[*refusal](err)
	switch {
	case is && refused.status == http.StatusInsufficientStorage:
		err = errors.Join(err, c.discard(f.Name()))
	case errors.Is(err, syscall.ENOSPC):
		err = errors.Join(refuse(http.StatusInsufficientStorage, "DENIED", "the disk of the package store is full"), c.discard(f.Name()))
	case err != nil:
		err = refuse(http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "upload broke off: %w", err)
	case err == nil && at != anywhere && n != at.last-at.first+1:
		err = refuse(http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "the chunk has %d bytes, not those of its Content-Range", n)
	}
	return size, err
}

// finish makes an upload the blob of that digest; or drops it, if it is another.
// It is ours and not oci.Storage's since a blob that is there must survive a power
// cut: publishers skip blobs that are there.
func (c *catalog) finish(id, digest string) error {
	f, size, done, err := c.openUpload(id)
	if err != nil {
		return err
	}
	defer done()
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, size)); err != nil {
		return fmt.Errorf("cannot read upload: %w", err)
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != digest {
		err := refuse(http.StatusBadRequest, "DIGEST_INVALID", "content has digest %s", got)
		return errors.Join(err, c.discard(f.Name()))
	}
	c.writes.Lock()
	defer c.writes.Unlock()
	before, err := c.replace(digest, func(path string) error { return settle(f, path) })
	if err == nil {
		c.quota.give(before)
	}
	return err
}

// drop ends an upload that nobody will finish.
func (c *catalog) drop(id string) error {
	f, _, done, err := c.openUpload(id)
	if err != nil {
		return err
	}
	defer done()
	return c.discard(f.Name())
}

// uploadTo is the path of an upload.
func uploadTo(component, id string) string { return "/v2/" + component + "/blobs/uploads/" + id }

// postUpload begins an upload; or takes a blob whole, or one that is here already.
func (s *Server) postUpload(w http.ResponseWriter, r *http.Request) {
	component, err := componentOf(r)
	if err != nil {
		s.fail(w, err)
		return
	}
	query := r.URL.Query()
	if digest := query.Get("mount"); pack.CheckDigest(digest) == nil && s.catalog.mount(digest) {
		created(w, "/v2/"+component+"/blobs/"+digest, digest)
		return
	}
	id, err := s.catalog.beginUpload()
	switch {
	case err != nil:
		s.fail(w, err)
	case query.Has("digest"):
		s.complete(w, r, component, id)
	default:
		s.proceed(w, http.StatusAccepted, component, id, 0)
	}
}

// proceed tells how far an upload is.
func (s *Server) proceed(w http.ResponseWriter, status int, component, id string, size int64) {
	w.Header().Set("Location", uploadTo(component, id))
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(size-1, 0)))
	w.WriteHeader(status)
}

func (s *Server) patchUpload(w http.ResponseWriter, r *http.Request) {
	component, err := componentOf(r)
	id := r.PathValue("upload")
	var at chunk
	if err == nil {
		at, err = parseChunk(r.Header.Get("Content-Range"))
	}
	var size int64
	if err == nil {
		size, err = s.catalog.extend(id, at, r.Body)
	}
	if errors.Is(err, errOrder) {
		w.Header().Set("Location", uploadTo(component, id))
		w.Header().Set("Range", fmt.Sprintf("0-%d", max(size-1, 0)))
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	s.proceed(w, http.StatusAccepted, component, id, size)
}

func (s *Server) putUpload(w http.ResponseWriter, r *http.Request) {
	component, err := componentOf(r)
	if err != nil {
		s.fail(w, err)
		return
	}
	s.complete(w, r, component, r.PathValue("upload"))
}

// complete takes the rest of a blob, if there is any, and what it is to be.
func (s *Server) complete(w http.ResponseWriter, r *http.Request, component, id string) {
	digest := r.URL.Query().Get("digest")
	at, err := parseChunk(r.Header.Get("Content-Range"))
	if e := pack.CheckDigest(digest); err == nil && e != nil {
		err = refuse(http.StatusBadRequest, "DIGEST_INVALID", "%w", e)
	}
	if err == nil && r.ContentLength != 0 {
		_, err = s.catalog.extend(id, at, r.Body)
	}
	if err == nil {
		err = s.catalog.finish(id, digest)
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	created(w, "/v2/"+component+"/blobs/"+digest, digest)
}

func (s *Server) getUpload(w http.ResponseWriter, r *http.Request) {
	component, err := componentOf(r)
	id := r.PathValue("upload")
	if err == nil {
		_, size, done, e := s.catalog.openUpload(id)
		if err = e; err == nil {
			done()
			s.proceed(w, http.StatusNoContent, component, id, size)
			return
		}
	}
	s.fail(w, err)
}

func (s *Server) deleteUpload(w http.ResponseWriter, r *http.Request) {
	if err := s.catalog.drop(r.PathValue("upload")); err != nil {
		s.fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
