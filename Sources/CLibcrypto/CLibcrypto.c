/* CLibcrypto: see CLibcrypto.h. The declarations are those of the manual pages of OpenSSL 3.0. */

#include "CLibcrypto.h"

#include <dlfcn.h>
#include <stdint.h>

typedef struct evp_pkey_st EVP_PKEY;
typedef struct evp_pkey_ctx_st EVP_PKEY_CTX;
typedef struct evp_md_st EVP_MD;
typedef struct evp_rand_ctx_st EVP_RAND_CTX;
typedef struct ossl_lib_ctx_st OSSL_LIB_CTX;
typedef struct ossl_provider_st OSSL_PROVIDER;

/* The functions that are used: result, name, parameters. */
#define FUNCTIONS(USE)                                                                                                  \
  USE(int, OPENSSL_init_crypto, (uint64_t, const void *))                                                               \
  USE(const char *, OpenSSL_version, (int))                                                                             \
  USE(void, ERR_clear_error, (void))                                                                                    \
  USE(OSSL_LIB_CTX *, OSSL_LIB_CTX_new, (void))                                                                         \
  USE(OSSL_PROVIDER *, OSSL_PROVIDER_load, (OSSL_LIB_CTX *, const char *))                                              \
  USE(EVP_MD *, EVP_MD_fetch, (OSSL_LIB_CTX *, const char *, const char *))                                             \
  USE(EVP_RAND_CTX *, RAND_get0_public, (OSSL_LIB_CTX *))                                                               \
  USE(EVP_RAND_CTX *, RAND_get0_private, (OSSL_LIB_CTX *))                                                              \
  USE(int, EVP_RAND_reseed, (EVP_RAND_CTX *, int, const unsigned char *, size_t, const unsigned char *, size_t))        \
  USE(EVP_PKEY *, d2i_AutoPrivateKey_ex, (EVP_PKEY **, const unsigned char **, long, OSSL_LIB_CTX *, const char *))     \
  USE(int, i2d_PrivateKey, (const EVP_PKEY *, unsigned char **))                                                        \
  USE(int, EVP_PKEY_is_a, (const EVP_PKEY *, const char *))                                                             \
  USE(void, EVP_PKEY_free, (EVP_PKEY *))                                                                                \
  USE(EVP_PKEY_CTX *, EVP_PKEY_CTX_new_from_pkey, (OSSL_LIB_CTX *, EVP_PKEY *, const char *))                           \
  USE(EVP_PKEY_CTX *, EVP_PKEY_CTX_new_from_name, (OSSL_LIB_CTX *, const char *, const char *))                         \
  USE(void, EVP_PKEY_CTX_free, (EVP_PKEY_CTX *))                                                                        \
  USE(int, EVP_PKEY_CTX_set_rsa_padding, (EVP_PKEY_CTX *, int))                                                         \
  USE(int, EVP_PKEY_CTX_set_rsa_pss_saltlen, (EVP_PKEY_CTX *, int))                                                     \
  USE(int, EVP_PKEY_CTX_set_rsa_mgf1_md, (EVP_PKEY_CTX *, const EVP_MD *))                                              \
  USE(int, EVP_PKEY_CTX_set_signature_md, (EVP_PKEY_CTX *, const EVP_MD *))                                             \
  USE(int, EVP_PKEY_CTX_set_rsa_keygen_bits, (EVP_PKEY_CTX *, int))                                                     \
  USE(int, EVP_PKEY_keygen_init, (EVP_PKEY_CTX *))                                                                      \
  USE(int, EVP_PKEY_generate, (EVP_PKEY_CTX *, EVP_PKEY **))                                                            \
  USE(int, EVP_PKEY_sign_init, (EVP_PKEY_CTX *))                                                                        \
  USE(int, EVP_PKEY_sign, (EVP_PKEY_CTX *, unsigned char *, size_t *, const unsigned char *, size_t))

/* OPENSSL_init_crypto(3): no texts of errors, no names of ciphers, no configuration, no function for the end of the process. The
 * names of hashes are needed to read a key for PSS with one hash. */
#define INIT_NO_LOAD_CRYPTO_STRINGS 0x00000001L
#define INIT_NO_ADD_ALL_CIPHERS 0x00000010L
#define INIT_NO_LOAD_CONFIG 0x00000080L
#define INIT_NO_ATEXIT 0x00080000L
/* EVP_PKEY_CTX_set_rsa_padding(3). */
#define PADDING_PKCS1 1
#define PADDING_PSS 6
#define SALT_LENGTH_OF_DIGEST (-1)

#define DECLARE(result, name, parameters) result(*name) parameters;
static struct {
  FUNCTIONS(DECLARE)
} crypto;

static OSSL_LIB_CTX *context;
static EVP_MD *digests[4];

static const char *load(void) {
  void *library = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char *reason = dlerror();
    return reason ? reason : "libcrypto.so.3 cannot be loaded";
  }
  /* POSIX: a pointer to a function has the form of a pointer to an object. */
#define FIND(result, name, parameters)                                                                                  \
  *(void **)&crypto.name = dlsym(library, #name);                                                                       \
  if (!crypto.name) return "libcrypto.so.3 has no function " #name;
  FUNCTIONS(FIND)
  uint64_t options = INIT_NO_LOAD_CRYPTO_STRINGS | INIT_NO_ADD_ALL_CIPHERS | INIT_NO_LOAD_CONFIG | INIT_NO_ATEXIT;
  if (crypto.OPENSSL_init_crypto(options, NULL) != 1) return "libcrypto cannot be initialised";
  context = crypto.OSSL_LIB_CTX_new();
  if (!context || !crypto.OSSL_PROVIDER_load(context, "default")) return "libcrypto has no default provider";
  static const char *const names[] = {NULL, "SHA2-256", "SHA2-384", "SHA2-512"};
  for (int form = LIBCRYPTO_PSS_SHA256; form <= LIBCRYPTO_PSS_SHA512; form++) {
    digests[form] = crypto.EVP_MD_fetch(context, names[form], NULL);
    if (!digests[form]) return "libcrypto has no SHA-2";
  }
  return NULL;
}

const char *libcrypto_load(void) {
  static bool was_tried;
  static const char *reason;
  if (!was_tried) {
    was_tried = true;
    reason = load();
    if (crypto.ERR_clear_error) crypto.ERR_clear_error();
  }
  return reason;
}

const char *libcrypto_version(void) { return crypto.OpenSSL_version(0); }

static EVP_PKEY *pair(libcrypto_key *key) { return (EVP_PKEY *)(void *)key; }

libcrypto_key *libcrypto_key_new(const unsigned char *octets, size_t length) {
  if (length > INT32_MAX) return NULL;
  EVP_PKEY *key = crypto.d2i_AutoPrivateKey_ex(NULL, &octets, (long)length, context, NULL);
  if (key && crypto.EVP_PKEY_is_a(key, "RSA") != 1 && crypto.EVP_PKEY_is_a(key, "RSA-PSS") != 1) {
    crypto.EVP_PKEY_free(key);
    key = NULL;
  }
  crypto.ERR_clear_error();
  return (libcrypto_key *)(void *)key;
}

void libcrypto_key_free(libcrypto_key *key) { crypto.EVP_PKEY_free(pair(key)); }

/* Sets the padding; true if libcrypto accepts it for this key. */
static bool prepare(EVP_PKEY_CTX *signing, enum libcrypto_form form) {
  if (crypto.EVP_PKEY_sign_init(signing) <= 0) return false;
  /* Without a hash libcrypto pads the octets as they are. */
  if (form == LIBCRYPTO_PKCS1) return crypto.EVP_PKEY_CTX_set_rsa_padding(signing, PADDING_PKCS1) > 0;
  return crypto.EVP_PKEY_CTX_set_rsa_padding(signing, PADDING_PSS) > 0 &&
         crypto.EVP_PKEY_CTX_set_signature_md(signing, digests[form]) > 0 &&
         crypto.EVP_PKEY_CTX_set_rsa_mgf1_md(signing, digests[form]) > 0 &&
         crypto.EVP_PKEY_CTX_set_rsa_pss_saltlen(signing, SALT_LENGTH_OF_DIGEST) > 0;
}

size_t libcrypto_sign(
  libcrypto_key *key, enum libcrypto_form form, const unsigned char *octets, size_t length, unsigned char *signature, size_t room) {
  EVP_PKEY_CTX *signing = crypto.EVP_PKEY_CTX_new_from_pkey(context, pair(key), NULL);
  size_t made = room;
  if (!signing || !prepare(signing, form) || crypto.EVP_PKEY_sign(signing, signature, &made, octets, length) <= 0) made = 0;
  crypto.EVP_PKEY_CTX_free(signing);
  crypto.ERR_clear_error();
  return made;
}

/* The generators of random numbers get octets of the kernel again, as they do by themselves after an hour or 65,536 requests. */
static bool reseed(void) {
  EVP_RAND_CTX *both[] = {crypto.RAND_get0_public(context), crypto.RAND_get0_private(context)};
  for (int index = 0; index < 2; index++)
    if (!both[index] || crypto.EVP_RAND_reseed(both[index], 1, NULL, 0, NULL, 0) != 1) return false;
  return true;
}

bool libcrypto_try(void) {
  EVP_PKEY *made = NULL;
  unsigned char octets[1024];
  unsigned char *end = octets;
  unsigned char signature[128];
  static const unsigned char digest[32] = {1};
  EVP_PKEY_CTX *making = crypto.EVP_PKEY_CTX_new_from_name(context, "RSA", NULL);
  /* The smallest size with room for PSS. */
  bool is_made = making && crypto.EVP_PKEY_keygen_init(making) > 0 && crypto.EVP_PKEY_CTX_set_rsa_keygen_bits(making, 768) > 0 &&
                 crypto.EVP_PKEY_generate(making, &made) > 0;
  int length = is_made ? crypto.i2d_PrivateKey(made, NULL) : 0;
  bool fits = length > 0 && (size_t)length <= sizeof octets && crypto.i2d_PrivateKey(made, &end) == length;
  libcrypto_key *key = fits ? libcrypto_key_new(octets, (size_t)length) : NULL;
  bool signs = key && libcrypto_sign(key, LIBCRYPTO_PKCS1, digest, sizeof digest, signature, sizeof signature) > 0 && reseed() &&
               libcrypto_sign(key, LIBCRYPTO_PSS_SHA256, digest, sizeof digest, signature, sizeof signature) > 0;
  if (key) libcrypto_key_free(key);
  crypto.EVP_PKEY_free(made);
  crypto.EVP_PKEY_CTX_free(making);
  crypto.ERR_clear_error();
  return signs;
}
