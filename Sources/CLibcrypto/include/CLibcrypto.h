/* CLibcrypto: RSA signatures with libcrypto of OpenSSL 3, loaded at run time.
 *
 * Nothing of OpenSSL is needed to build this. The functions of libcrypto are found with dlopen(3) and dlsym(3) in
 * libcrypto.so.3; the interface of that name does not change.
 *
 * Contract: one thread. libcrypto reads no configuration (OPENSSL_CONF, OPENSSL_MODULES and OPENSSL_ENGINES have no effect), registers
 * nothing for the end of the process, and is used in a context of its own with nothing but its default provider. A process
 * that calls libcrypto_load before it limits its system calls needs after that only those for memory, getrandom and
 * getpid.
 *
 * Failure: NULL, false or 0. libcrypto's own queue of errors is emptied after each call. */

#ifndef CLIBCRYPTO_H
#define CLIBCRYPTO_H

#include <stdbool.h>
#include <stddef.h>

/* An RSA key pair. */
typedef struct libcrypto_key libcrypto_key;

/* What is signed, and how it is padded. */
enum libcrypto_form {
  /* PKCS #1 v1.5 (RFC 8017, 8.2): the octets are a DigestInfo. */
  LIBCRYPTO_PKCS1,
  /* PSS (RFC 8017, 8.1): the octets are the digest; MGF1 with the same hash, and a salt of the length of the digest
   * (RFC 8446, 4.2.3). */
  LIBCRYPTO_PSS_SHA256,
  LIBCRYPTO_PSS_SHA384,
  LIBCRYPTO_PSS_SHA512
};

/* Loads the library, once. Returns NULL, or the reason why it cannot be used, which stays valid. */
const char *libcrypto_load(void);

/* The version, such as "OpenSSL 3.0.19 27 Jan 2026". Only after libcrypto_load has returned NULL, as all of the following. */
const char *libcrypto_version(void);

/* Makes a key, signs with it in two forms, and has the generators of random numbers seeded again in between. So a process with
 * the same limits as another one can find out whether that one would survive. */
bool libcrypto_try(void);

/* The key of an unencrypted PKCS #8 or PKCS #1 structure in DER; NULL if libcrypto cannot read it, or if it is no RSA key.
 * libcrypto copies what it needs: the caller wipes the octets. */
libcrypto_key *libcrypto_key_new(const unsigned char *octets, size_t length);

void libcrypto_key_free(libcrypto_key *key);

/* Signs, and returns the length of the signature; 0 on failure, also if it is longer than `room`. libcrypto computes with the
 * primes, but returns no result that does not fit the public key. */
size_t libcrypto_sign(
  libcrypto_key *key, enum libcrypto_form form, const unsigned char *octets, size_t length, unsigned char *signature, size_t room);

#endif
