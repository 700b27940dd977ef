package accounts

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// Argon2id with the least that OWASP's Password Storage Cheat Sheet asks for: a backend may be a small machine, and
// anybody can have it hash.
const (
	argonMemory = 19 << 10 // KiB
	argonTime   = 2
	argonLanes  = 1
	saltSize    = 16
	hashSize    = 32
)

// Bounds of a password, in bytes. What matters is length (NIST SP 800-63B, 3.1.1.2).
const (
	minPassword = 12
	maxPassword = 256
)

func checkPassword(password string) error {
	if len(password) < minPassword || len(password) > maxPassword {
		return twin.ArgumentInvalid.With("a password must have %d to %d bytes", minPassword, maxPassword)
	}
	return nil
}

// hash makes the text that is kept of a password, in the form of the Password Hashing Competition.
func (a *Accounts) hash(password string) string {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonLanes,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(a.argon(password, salt, argonMemory, argonTime, argonLanes)))
}

// nobody is the hash of a user who is not there: it takes as long.
var nobody = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", argon2.Version, argonMemory, argonTime, argonLanes)

// matches tells whether a hash is of that password.
func (a *Accounts) matches(hash, password string) (bool, error) {
	var version, lanes int
	var memory, time uint32
	var rest string
	if _, err := fmt.Sscanf(hash, "$argon2id$v=%d$m=%d,t=%d,p=%d$%s", &version, &memory, &time, &lanes, &rest); err != nil || version != argon2.Version {
		return false, errors.New("the hash of a password is damaged")
	}
	salt, want, err := saltAndHash(rest)
	if err != nil || time < 1 || lanes < 1 || lanes > 255 {
		return false, errors.New("the hash of a password is damaged")
	}
	return subtle.ConstantTimeCompare(want, a.argon(password, salt, memory, time, uint8(lanes))) == 1, nil
}

func saltAndHash(text string) (salt, hash []byte, err error) {
	size := base64.RawStdEncoding.EncodedLen(saltSize)
	if len(text) <= size+1 || text[size] != '$' {
		return nil, nil, errors.New("no salt")
	}
	salt, err = base64.RawStdEncoding.DecodeString(text[:size])
	hash, e := base64.RawStdEncoding.DecodeString(text[size+1:])
	return salt, hash, errors.Join(err, e)
}

// argon hashes; two at once, since each takes memory.
func (a *Accounts) argon(password string, salt []byte, memory, time uint32, lanes uint8) []byte {
	a.hashing <- struct{}{}
	defer func() { <-a.hashing }()
	return argon2.IDKey([]byte(password), salt, time, memory, lanes, hashSize)
}
