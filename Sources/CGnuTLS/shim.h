/*
 * The edge to GnuTLS: its headers, and the few things in them that Swift cannot see: macros with a cast
 * and a function pointer that is a variable.
 */

#ifndef CGNUTLS_SHIM_H
#define CGNUTLS_SHIM_H

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/ocsp.h>
#include <gnutls/x509.h>

/* gnutls_free is a variable that holds a function. */
static inline void shim_gnutls_free(void *pointer) {
  gnutls_free(pointer);
}

/* The same for gnutls_malloc. */
static inline void *shim_gnutls_malloc(size_t count) {
  return gnutls_malloc(count);
}

/* GNUTLS_FLAGS_TO_SIGN_ALGO is a macro with a cast. */
static inline gnutls_sign_algorithm_t shim_gnutls_sign_algorithm(unsigned flags) {
  return (gnutls_sign_algorithm_t)GNUTLS_FLAGS_TO_SIGN_ALGO(flags);
}

/* GNUTLS_CURVE_TO_BITS is a macro with a cast. */
static inline unsigned shim_gnutls_curve_bits(gnutls_ecc_curve_t curve) {
  return (unsigned)GNUTLS_CURVE_TO_BITS(curve);
}

/* GNUTLS_HANDSHAKE_ANY is a macro with a cast. */
static inline unsigned shim_gnutls_any_message(void) {
  return GNUTLS_HANDSHAKE_ANY;
}

#endif
